#!/bin/bash
# Runs the libFuzzer targets (clang 16 with ASan and UBSan, preset `fuzz`), two at a time, and says what of the
# parsers they have reached.
#
#   tests/fuzz/run.sh [--keep] [SECONDS [NAME…]]     600 seconds each, all of them, unless told otherwise
#
# One line for each: seconds, executions, edges and features reached, inputs that reached something new, coverage of
# its parsers; then every parser's file with the regions and lines that all of them together have reached. What they
# start from: tests/fuzz/corpus, the examples and golden files; words: the literals of the parsers themselves.
# What they find is in .build/fuzz/runs/NAME: corpus/, crash-… (replay it: NAME_fuzz FILE), log.
# --keep: a small part of what reaches most becomes tests/fuzz/corpus/NAME.hex, which `ctest` replays; what once
# was a bug is in found-NAME.hex beside it, and stays.
#
# What it needs: packaging/dependencies.sh build fuzz. Exit code 1 when anything was found.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
keep=no
if [ "${1:-}" = --keep ]; then
  keep=yes
  shift
fi
case ${1:-} in -*) sed -n 's/^#   /usage: /p' "$0" >&2; exit 1 ;; esac
seconds=${1:-600}
names=("${@:2}")
[ ${#names[@]} -gt 0 ] || names=(wireguard uapi datapath endpoints topology state control netlink texts)
runs=.build/fuzz/runs

# Whose coverage is told: the files that take bytes from outside.
parsers_of() {
  case $1 in
    wireguard) ls daemon/wireguard/{device_receive,noise,cookie,keypair,replay_window,rate_limiter,tai64n}.cpp ;;
    uapi) ls daemon/wireguard/{uapi,uapi_parse,allowed_ips}.cpp ;;
    datapath) ls daemon/wire/*.cpp daemon/datapath/{coalesce,reassembly,gretap_gue,gretap_ip}.cpp ;;
    endpoints) ls daemon/datapath/{gue_endpoint,wireguard_receive}.cpp ;;
    topology) ls topology/{json_document,json_syntax,reader,parse*,stand_in,validate*,diagnostic,compile*,derive,mtu}.cpp ;;
    state) ls topology/{state_from_json,state_json}.cpp topology/state_reader.hpp daemon/reconcile/ledger_store.cpp ;;
    control) ls daemon/control/{message,uapi_text}.cpp ;;
    netlink) ls netlink/{message,socket,links,addresses,routes,fou,gretap,bridge,wireguard,ethtool,families,activity}.cpp ;;
    texts) ls daemon/overlayd/options.cpp daemon/io/offloads.cpp daemon/datapath/stamp_store.cpp \
      daemon/reconcile/key_files.cpp netlink/{firewall_read,udp_sockets}.cpp topology/{values,key_text}.cpp ;;
    *) echo "no fuzzer is called $1" >&2; exit 1 ;;
  esac
}

percent() {   # COLUMN (7: regions, 10: lines… of the last line of llvm-cov's table)
  awk -v column="$1" '/^TOTAL/ { print $column }'
}

unpack_seeds() {   # NAME FOLDER: one file for each input
  python3 - "$1" "$2" <<'PYTHON'
import pathlib, sys
name, folder = sys.argv[1], pathlib.Path(sys.argv[2])
inputs = [bytes.fromhex(line) for file in pathlib.Path("tests/fuzz/corpus").glob(f"*{name}.hex")
          for line in file.read_text().split()]
if name == "topology":
    inputs += [file.read_bytes() for pattern in ("examples/*.json", "tests/golden/*/*/topology.json")
               for file in pathlib.Path(".").glob(pattern)]
if name == "texts":
    inputs += [b"\x03" + file.read_bytes() for file in pathlib.Path("tests/vectors/nft").glob("*.json")]
for number, each in enumerate(inputs):
    (folder / f"seed-{number:04}").write_bytes(each)
PYTHON
}

pack_corpus() {   # NAME FOLDER: small ones and larger ones alike, as many as a repository should hold
  python3 - "$1" "$2" <<'PYTHON'
import pathlib, sys
name, folder = sys.argv[1], pathlib.Path(sys.argv[2])
found = sorted((file.read_bytes() for file in folder.iterdir()), key=lambda content: (len(content), content))
found = [each for each in found if 0 < len(each) <= 3000]
most = {"wireguard": 60, "topology": 100, "uapi": 100}.get(name, 200)   # each of theirs takes some 20 to 50 ms
for count in range(min(most, len(found)), 0, -1):
    lines = [found[index * len(found) // count].hex() + "\n" for index in range(count)]
    if sum(map(len, lines)) <= 150_000:
        break
pathlib.Path(f"tests/fuzz/corpus/{name}.hex").write_text("".join(lines))
PYTHON
}

fuzz() {   # NAME
  local name=$1 program=.build/fuzz/tests/$1_fuzz folder=$runs/$1 code=0 begun=$SECONDS took
  mkdir -p "$folder/corpus" "$folder/seeds"
  unpack_seeds "$name" "$folder/seeds"
  # shellcheck disable=SC2046
  grep -ohE '"[A-Za-z0-9_=./:-]{2,24}"' $(parsers_of "$name") | sort -u >"$folder/words"
  LLVM_PROFILE_FILE=/dev/null "$program" -max_total_time="$seconds" -timeout=30 -rss_limit_mb=3000 -max_len=8192 \
    -dict="$folder/words" -artifact_prefix="$folder/" -print_final_stats=1 "$folder/corpus" "$folder/seeds" \
    >"$folder/log" 2>&1 || code=$?
  took=$((SECONDS - begun))
  rm -rf "$folder/small"
  mkdir "$folder/small"
  LLVM_PROFILE_FILE=/dev/null "$program" -merge=1 -max_len=8192 "$folder/small" "$folder/seeds" "$folder/corpus" \
    >"$folder/merge-log" 2>&1 || code=$?
  LLVM_PROFILE_FILE=$folder/profraw "$program" -runs=0 "$folder/small" >"$folder/replay-log" 2>&1 || code=$?
  llvm-profdata-16 merge -sparse "$folder/profraw" -o "$folder/profdata" || code=$?
  # shellcheck disable=SC2046
  llvm-cov-16 report "$program" -instr-profile="$folder/profdata" $(parsers_of "$name") >"$folder/coverage" || code=$?
  local last executions reached new
  last=$(grep -E 'cov: [0-9]+ ft: [0-9]+' "$folder/log" | tail -n 1 || true)
  executions=$(sed -n 's/^stat::number_of_executed_units: *//p' "$folder/log")
  reached=$(sed -E 's/.*cov: ([0-9]+) ft: ([0-9]+).*/\1 edges, \2 features/' <<<"$last")
  new=$(find "$folder/corpus" -type f | wc -l)
  [ $keep = no ] || [ $code -ne 0 ] || pack_corpus "$name" "$folder/small"
  echo "$([ $code -eq 0 ] && echo ok || echo FAIL) $name: $took s, ${executions:-?} executions, $reached, $new new" \
    "inputs; its parsers: $(percent 10 <"$folder/coverage") of lines, $(percent 4 <"$folder/coverage") of regions"
  [ $code -eq 0 ] || tail -n 30 "$folder/log" | sed 's/^/     /'
  return $code
}

options=()
command -v ccache >/dev/null && options+=(-DCMAKE_CXX_COMPILER_LAUNCHER=ccache)
cmake --preset fuzz "${options[@]}" >/dev/null
cmake --build --preset fuzz

trap 'kill $(jobs -p) 2>/dev/null || true' EXIT
trap 'exit 130' INT TERM
failed=0 running=0
for name in "${names[@]}"; do
  if [ $running -ge 2 ]; then
    wait -n || failed=1
    running=$((running - 1))
  fi
  fuzz "$name" &
  running=$((running + 1))
done
while [ $running -gt 0 ]; do
  wait -n || failed=1
  running=$((running - 1))
done

objects=() profiles=() files=()
for name in "${names[@]}"; do
  [ ${#objects[@]} -eq 0 ] || objects+=(-object)
  objects+=(".build/fuzz/tests/${name}_fuzz")
  profiles+=("$runs/$name/profdata")
  mapfile -t -O ${#files[@]} files < <(parsers_of "$name")
done
llvm-profdata-16 merge -sparse "${profiles[@]}" -o $runs/profdata
llvm-cov-16 report "${objects[@]}" -instr-profile=$runs/profdata "${files[@]}" |
  awk '/^[A-Za-z].*%/ { printf "%-44s regions %8s  lines %8s\n", $1, $4, $10 }'
exit $failed
