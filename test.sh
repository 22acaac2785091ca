#!/bin/bash
# Builds everything and tests it; installs what that needs. Works from any directory.
#
#   test.sh [--long] [NAME…]    only the parts whose name contains a NAME; --list shows them
#
# Parts: unit (asan), ctest (what else CMake registers), tidy/… on this machine, with --long campaign and guards;
# native/… (release) too, where it has bridges and TAP devices for us; kernel/… (asan) and e2e/… (release) each in a
# kernel lab of its own; two at a time. Logs: .build/test-logs.
# The last line is `N passed, N failed, N skipped`; exit code 1 when anything failed.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
root=$PWD
logs=$root/.build/test-logs
python=/usr/bin/python3     # Debian's, which sees Debian's modules
long=0 list=no names=()
for word in "$@"; do
  case $word in
    --long) long=1 ;;
    --list) list=yes ;;
    -*) sed -n 's/^#   /usage: /p' "$0" >&2; exit 1 ;;
    *) names+=("$word") ;;
  esac
done

# ---- the parts: a name, a time limit in seconds, a command -----------------------------------------

part_names=() part_limits=() part_commands=()
part() {
  local name=$1 limit=$2 wanted
  shift 2
  [[ " ${part_names[*]} " != *" $name "* ]] || return 0
  for wanted in "${names[@]}"; do
    [[ $name == *"$wanted"* ]] && break
    wanted=""
  done
  [ ${#names[@]} -eq 0 ] || [ -n "${wanted:-}" ] || return 0
  part_names+=("$name")
  part_limits+=("$limit")
  part_commands+=("$(printf '%q ' "$@")")
}

in_lab() {   # SECONDS NAME: the words before the program; the lab reports its own timeout
  echo "tests/kernel/run.sh --memory 1536 --timeout $1 --share $logs/$2.files -- \
env OVERLAY_LONG=$long OVERLAY_SEED=${OVERLAY_SEED:-$RANDOM} OVERLAY_BUILD=$root/.build/release"
}

can_natively() {   # make what a network in user space is made of, in a namespace that ends at once
  [ "$(id -u)" = 0 ] && unshare --net sh -c 'ip link add bridge type bridge && ip tuntap add tap mode tap &&
    ip link add near type veth peer name far && nft add table inet test' >/dev/null 2>&1
}

list_parts() {
  local lab_seconds=$((long == 1 ? 3600 : 1500)) seconds file name program
  part unit 600 .build/asan/tests/unit_tests
  part ctest 600 ctest --test-dir .build/asan --output-on-failure -E '^unit$' -LE kernel
  if [ $long = 1 ]; then
    part campaign 1800 .build/asan/tests/wireguard_campaign 1000000 "${OVERLAY_SEED:-$RANDOM}"
    part guards 7200 "$python" tests/guards/guards.py
  fi
  for file in tests/tidy/*_test.py; do
    part "tidy/$(basename "$file" _test.py)" 120 "$python" "$file"
  done
  # Every test program but unit_tests needs a kernel of its own.
  for program in $(sed -n 's/^add_executable(\([a-z_]*_tests\).*/\1/p' tests/CMakeLists.txt); do
    [ "$program" != unit_tests ] || continue
    name=kernel/$program
    # shellcheck disable=SC2046
    part "$name" $((lab_seconds + 30)) $(in_lab $lab_seconds "$name") ".build/asan/tests/$program"
  done
  for file in tests/native/*_test.py; do
    name=native/$(basename "$file" _test.py)
    if can_natively; then
      part "$name" $((long == 1 ? 3600 : 600)) env OVERLAY_LONG=$long OVERLAY_SEED="${OVERLAY_SEED:-$RANDOM}" \
        OVERLAY_BUILD="$root/.build/release" "$python" "$file"
    else
      # shellcheck disable=SC2046
      part "$name" $((lab_seconds + 30)) $(in_lab $lab_seconds "$name") "$python" "$file"
    fi
  done
  # The slowest first, or the machine would idle beside the last one.
  for file in tests/e2e/{pairs,foreign,drift,render,purpose}_test.py tests/e2e/*_test.py; do
    name=e2e/$(basename "$file" _test.py)
    seconds=$lab_seconds
    [[ $long == 1 && $name == e2e/pairs ]] && seconds=7200   # 70 pairs, 50 MB each way
    # shellcheck disable=SC2046
    part "$name" $((seconds + 30)) $(in_lab $seconds "$name") "$python" "$file"
  done
}

# ---- build ------------------------------------------------------------------------------------------

build() {   # PRESET TARGET…
  local preset=$1 log=$logs/build-$1.log
  local options=(-DCMAKE_UNITY_BUILD=ON)   # headers are read once for several files
  shift
  command -v ccache >/dev/null && options+=(-DCMAKE_CXX_COMPILER_LAUNCHER=ccache)
  if cmake --preset "$preset" "${options[@]}" >"$log" 2>&1 &&
    cmake --build --preset "$preset" --target "$@" >>"$log" 2>&1; then
    echo "built $preset"
    return
  fi
  grep -E -A 5 'error|FAILED' "$log" | head -n 40 || tail -n 20 "$log"
  echo "FAIL building $preset; all of it: $log"
  echo "0 passed, 1 failed, 0 skipped"
  exit 1
}

# ---- running one part -------------------------------------------------------------------------------

# "passed failed skipped" of a log: stories' lines, or the summaries of doctest and CTest.
counts_of() {
  awk '
    /^ok /   { passed++ }
    /^FAIL / { failed++ }
    /^skip / { skipped++ }
    /^\[doctest\] test cases:/ {
      gsub(/\|/, " ")
      for (i = 1; i < NF; i++) {
        if ($(i + 1) == "passed") passed += $i
        if ($(i + 1) == "failed") failed += $i
      }
    }
    /tests passed, [0-9]+ tests failed out of [0-9]+/ {
      for (i = 1; i < NF; i++) if ($(i + 1) == "tests" && $(i + 2) == "failed") bad = $i
      failed += bad
      passed += $NF - bad
    }
    END { print passed + 0, failed + 0, skipped + 0 }' "$1"
}

run_part() {   # INDEX; prints a few lines and leaves the counts in the part's result file
  local name=${part_names[$1]} limit=${part_limits[$1]} started=$SECONDS code=0
  local log=$logs/$name.log passed failed skipped
  mkdir -p "$(dirname "$log")"
  # The words were quoted by printf %q above. Our own end is the command's: it may be a machine.
  eval "exec timeout --kill-after=10 $limit ${part_commands[$1]}" >"$log" 2>&1 </dev/null &
  local command=$!
  trap 'kill $command 2>/dev/null; exit 143' TERM
  wait $command || code=$?
  read -r passed failed skipped <<<"$(counts_of "$log")"
  # A program that died, hung, or tested nothing has failed, whatever it managed to print.
  if [ "$code" -ne 0 ] && [ "$failed" -eq 0 ]; then failed=1; fi
  if [ $((passed + failed + skipped)) -eq 0 ] && [ "$name" != ctest ]; then failed=1; fi
  echo "$passed $failed $skipped" >"$log.counts"
  local line="$name: $passed passed, $failed failed, $skipped skipped ($((SECONDS - started)) s)"
  if [ "$failed" -eq 0 ]; then
    echo "ok   $line"
    grep '^skip ' "$log" | sed 's/^/     /' || true
    return
  fi
  echo "FAIL $line; exit code $code; log: $log"
  if grep -q '^FAIL ' "$log"; then
    grep -A 30 '^FAIL ' "$log" | head -n 60
  else
    tail -n 30 "$log"
  fi | sed 's/^/     /'
}

# ---- all of it --------------------------------------------------------------------------------------

list_parts
if [ $list = yes ]; then
  printf '%s\n' "${part_names[@]}"
  exit
fi
if [ ${#part_names[@]} -eq 0 ]; then
  echo "no part's name contains ${names[*]}; --list shows them" >&2
  exit 1
fi
packaging/dependencies.sh build test
mkdir -p "$logs"
build asan all
build release overlayctl overlayd carry
needs_lab=no
for name in "${part_names[@]}"; do
  [[ $name == kernel/* || $name == e2e/* || $name == native/* ]] && needs_lab=yes
done
# Before the parts, so that two of them do not wait for one download. Its failure is theirs.
[ $needs_lab = no ] || tests/kernel/fetch.sh || true

rm -f "$logs"/*.counts "$logs"/*/*.counts
trap 'kill $(jobs -p) 2>/dev/null || true' EXIT
trap 'exit 130' INT TERM
running=0
for index in "${!part_names[@]}"; do
  if [ $running -ge 2 ]; then
    wait -n || true
    running=$((running - 1))
  fi
  run_part "$index" &
  running=$((running + 1))
done
wait

passed=0 failed=0 skipped=0
for name in "${part_names[@]}"; do
  read -r p f s <"$logs/$name.log.counts" || { p=0 f=1 s=0; }
  passed=$((passed + p)) failed=$((failed + f)) skipped=$((skipped + s))
done
echo "$passed passed, $failed failed, $skipped skipped"
[ $failed -eq 0 ]
