#!/bin/bash
# The verbs that need no privileges, run as a user runs them: exit codes, files and what is printed.
# `wg` judges our keys where it is installed.
#
#   verbs_test.sh OVERLAYCTL SOURCE_DIRECTORY
set -euo pipefail
overlayctl=$1
source=$2
blog=$source/tests/golden/render/blog.json
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
failures=0

check() {   # NAME EXPECTED ACTUAL
  [ "$2" = "$3" ] && return
  printf 'FAILED: %s\n--- expected\n%s\n--- actual\n%s\n' "$1" "$2" "$3"
  failures=$((failures + 1))
}
code_of() { local code=0; "$@" >"$work/out" 2>"$work/err" || code=$?; echo $code; }

# ---- keygen and pubkey
umask 000   # the file must be closed whatever the caller's umask
check "keygen ends well" 0 "$(code_of "$overlayctl" keygen "$work/a.key")"
public=$(cat "$work/out")
check "the key file is its owner's alone" 600 "$(stat -c %a "$work/a.key")"
check "the public key is 44 characters" 44 "${#public}"
check "pubkey of the file" "$public" "$("$overlayctl" pubkey "$work/a.key")"
check "pubkey of standard input" "$public" "$("$overlayctl" pubkey <"$work/a.key")"
if command -v wg >/dev/null; then
  check "wg agrees with the public key" "$(wg pubkey <"$work/a.key")" "$public"
  wg genkey >"$work/wg.key"; chmod 600 "$work/wg.key"
  check "we agree with wg's key" "$(wg pubkey <"$work/wg.key")" "$("$overlayctl" pubkey "$work/wg.key")"
fi
bytes=$(base64 -d "$work/a.key" | od -An -tu1 | tr -s ' \n' ' ')
set -- $bytes
check "the key is clamped at its low end" 0 "$(($1 & 7))"
check "the key is clamped at its high end" 64 "$((${32} & 192))"
before=$(cat "$work/a.key")
check "an existing file is refused" 1 "$(code_of "$overlayctl" keygen "$work/a.key")"
check "and left alone" "$before" "$(cat "$work/a.key")"
check "--force replaces it" 0 "$(code_of "$overlayctl" keygen --force "$work/a.key")"
[ "$before" != "$(cat "$work/a.key")" ] || check "with a new key" different same
check "and closed again" 600 "$(stat -c %a "$work/a.key")"
ln -s "$work/elsewhere" "$work/link.key"
check "a link is not followed" 1 "$(code_of "$overlayctl" keygen "$work/link.key")"
[ ! -e "$work/elsewhere" ] || check "nothing behind the link" absent present
check "a preshared key prints nothing" "" "$("$overlayctl" keygen --preshared "$work/psk")"
check "and is 32 bytes" 32 "$(base64 -d "$work/psk" | wc -c)"
chmod 644 "$work/a.key"
check "a key that others can read is refused" 1 "$(code_of "$overlayctl" pubkey "$work/a.key")"
for name in 9x -x "$(printf 'x%.0s' {1..200})"; do
  check "no network is called $name" 1 "$(code_of "$overlayctl" keygen "--network=$name")"
done
check "keygen wants one place" 1 "$(code_of "$overlayctl" keygen)"
check "no folder is made for just any path" 1 "$(code_of "$overlayctl" keygen "$work/none/a.key")"
# A fresh machine has no /etc/overlay: here, an /etc with nothing in it.
if unshare -m mount -t tmpfs none /etc 2>/dev/null; then
  for words in "/etc/overlay/mine.key" "--network mine"; do
    check "keygen $words makes the folder" "755 600" "$(unshare -m sh -c 'mount -t tmpfs none /etc
      "$0" keygen $1 >/dev/null; stat -c %a /etc/overlay /etc/overlay/mine.key' "$overlayctl" "$words" | xargs)"
  done
fi

# ---- files that we write hurt nobody else's
echo mine >"$work/a.key.new"; echo plan >"$work/plan.new"; mkfifo "$work/pipe"; mkdir "$work/folder"
chmod 600 "$work/a.key"
check "--force again" 0 "$(code_of "$overlayctl" keygen --force "$work/a.key")"
check "a file beside the key is left alone" mine "$(cat "$work/a.key.new")"
"$overlayctl" snapshot >"$work/here.json"
diff_out() { code_of "$overlayctl" diff "$blog" --node home --against "$work/here.json" --out "$1"; }
diff_out "$work/plan" >/dev/null
[ -s "$work/plan" ] || check "--out writes the plan" written missing
check "a file beside the plan is left alone" plan "$(cat "$work/plan.new")"
check "--out over a pipe is refused" 1 "$(diff_out "$work/pipe")"
[ -p "$work/pipe" ] || check "and it stays a pipe" pipe "$(ls -l "$work/pipe")"
check "--out over a folder is refused" 1 "$(diff_out "$work/folder")"
check "nothing of a writer is left" "" "$(find "$work" -name '*overlay-new')"

# ---- output that does not arrive is told
full() { local code=0; "$@" >/dev/full 2>"$work/err" || code=$?; echo $code; }
closed() { local code=0; "$@" >&- 2>"$work/err" || code=$?; echo $code; }
for words in "render $blog --node home -f ip" "snapshot" "validate $blog --json" "explain $blog mtu" "--version"; do
  for how in full closed; do
    # shellcheck disable=SC2086
    check "$words, output $how" 1 "$($how "$overlayctl" $words)"
    grep -q 'standard output' "$work/err" || check "$words, output $how: told" told "$(cat "$work/err")"
  done
done

# ---- validate
sed 's/"version": 1/"version": 1, "extra": 2/' "$blog" >"$work/extra.json"
check "--strict takes warnings for errors" 3 "$(code_of "$overlayctl" validate --strict "$blog")"
check "with --json, too" 3 "$(code_of "$overlayctl" validate --strict --json "$blog")"
check "without, they are none" 0 "$(code_of "$overlayctl" validate --json "$blog")"
head -c 1100000 /dev/zero | tr '\0' ' ' >"$work/large.json"
check "too large is invalid" 3 "$(code_of "$overlayctl" validate --json "$work/large.json")"
grep -q '"valid": false' "$work/out" || check "and says so in JSON" JSON "$(cat "$work/out")"
check "a file that is not there is no invalid one" 1 "$(code_of "$overlayctl" validate --json "$work/none.json")"
grep -q '"valid": false' "$work/out" || check "and JSON says so, too" JSON "$(cat "$work/out")"

# ---- down
down() { code_of "$overlayctl" down "$@" --state-dir "$work/state" --run-dir "$work/run"; }
check "down where nothing is applied" "0 nothing is applied here" "$(down) $(cat "$work/out")"
check "with --json, in JSON" "0 {" "$(down --json) $(head -n 1 "$work/out")"
check "down takes no path for a network" 1 "$(down ../victim)"
check "down of a network that is not here" 0 "$(down mistyped)"
grep -q 'mistyped is not applied here' "$work/err" || check "is told" told "$(cat "$work/err")"

# ---- render
for node in linode home office; do
  check "render ip of $node" "$(cat "$source/tests/golden/render/$node.sh")" \
    "$("$overlayctl" render "$blog" --node $node --format ip 2>/dev/null)"
done
check "radvd needs no node" "$(cat "$source/tests/golden/render/radvd.conf")" \
  "$("$overlayctl" render "$blog" --format radvd 2>/dev/null)"
check "no such format" 1 "$(code_of "$overlayctl" render "$blog" --node home --format xml)"
check "wg-quick wants a wireguard link" 1 "$(code_of "$overlayctl" render "$blog" --node office -f wg-quick)"
check "no such node" 1 "$(code_of "$overlayctl" render "$blog" --node hom --format ip)"
grep -q 'did you mean "home"' "$work/err" || check "the near node is named" home "$(cat "$work/err")"

# ---- explain
check "explain mtu" "home: gretap-gue between linode and home

  underlay MTU                    1500
  outer IPv4 header                -20
  UDP header                        -8
  GUE header                        -4
  GRE header                        -4
  inner Ethernet header            -14
  ------------------------------------
  MTU of the tunnel, both ends    1450

  TCP MSS over IPv4               1410
  TCP MSS over IPv6               1390" "$("$overlayctl" explain "$blog" mtu home 2>/dev/null | head -13)"
check "no such link" 1 "$(code_of "$overlayctl" explain "$blog" mtu ofice)"
grep -q 'did you mean "office"' "$work/err" || check "the near link is named" office "$(cat "$work/err")"
printf '{"version": 1, "network": "n", "hub": {"name": "h", "underlay": {"addresses": ["198.51.100.1"]}}, "spokes": {}}' >"$work/alone.json"
check "no links at all" "0 the file has no links" "$(code_of "$overlayctl" explain "$work/alone.json" mtu) $(cat "$work/out")"
check "radvd of no such node" 1 "$(code_of "$overlayctl" render "$blog" --node nonsense --format radvd)"
grep -q 'its nodes are: ' "$work/err" || check "lists the nodes" nodes "$(cat "$work/err")"
check "only the MTU is explained" 1 "$(code_of "$overlayctl" explain "$blog" mtuu home)"

# ---- status is over when nobody reads it any more
check "status --watch ends when its output is full" 1 "$(code_of timeout 20 sh -c '"$0" status --watch >/dev/full' "$overlayctl")"

# ---- an invalid file is exit code 3 for each
echo '{' >"$work/bad.json"
for words in "render $work/bad.json -f radvd" "explain $work/bad.json mtu" "doctor $work/bad.json"; do
  # shellcheck disable=SC2086
  check "$words" 3 "$(code_of "$overlayctl" $words)"
done

# ---- help is for every verb, and lists its options
for verb in render snapshot explain keygen pubkey doctor; do
  check "$verb --help" 0 "$(code_of "$overlayctl" $verb --help)"
  grep -q "^usage: overlayctl $verb" "$work/out" || check "$verb --help" usage "$(cat "$work/out")"
done

[ $failures = 0 ] || { echo "$failures failed"; exit 1; }
echo "all good"
