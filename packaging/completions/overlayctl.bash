# bash completion for overlayctl: verbs, options, files, and the nodes and links of the file on the line.

_overlayctl_file() {   # the topology file among the words typed so far
    local word
    for word in "${COMP_WORDS[@]:2}"; do
        [[ $word == *.json && -r $word ]] && { printf '%s' "$word"; return; }
    done
}

# The hub's name, then the keys of "spokes", as `explain --json` tells them. Nothing when the file is invalid.
_overlayctl_names() {   # nodes | links
    local file json
    file=$(_overlayctl_file)
    [[ -n $file ]] || return
    json=$("${COMP_WORDS[0]}" explain "$file" mtu --json 2>/dev/null) || return
    case $1 in
        nodes) sed -n 's/^ *"\(hub\|spoke\)": "\(.*\)",\{0,1\}$/\2/p' <<<"$json" | sort -u ;;
        links) sed -n 's/^ *"link": "\(.*\)",\{0,1\}$/\1/p' <<<"$json" ;;
    esac
}

_overlayctl() {
    local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD-1]} verb=${COMP_WORDS[1]}
    local verbs="validate diff apply down status snapshot render explain doctor keygen pubkey lab"
    COMPREPLY=()
    if ((COMP_CWORD == 1)); then
        mapfile -t COMPREPLY < <(compgen -W "$verbs --help --version" -- "$cur")
        return
    fi
    case $prev in
        --node | -n) mapfile -t COMPREPLY < <(compgen -W "$(_overlayctl_names nodes)" -- "$cur"); return ;;
        --link) mapfile -t COMPREPLY < <(compgen -W "$(_overlayctl_names links)" -- "$cur"); return ;;
        --format | -f)
            mapfile -t COMPREPLY < <(compgen -W "ip nft wg wg-quick radvd json" -- "$cur"); return ;;
        --state-dir | --run-dir | --state | --keys)
            mapfile -t COMPREPLY < <(compgen -d -- "$cur"); compopt -o filenames; return ;;
    esac
    if [[ $cur == -* ]]; then
        local options="--help"
        case $verb in
            validate) options+=" --strict --json" ;;
            diff) options+=" --node --json --against --out --state-dir --run-dir" ;;
            apply) options+=" --node --json --plan --no-disrupt --state-dir --run-dir" ;;
            down) options+=" --json --state-dir --run-dir" ;;
            status) options+=" --json --watch --state-dir --run-dir" ;;
            render) options+=" --node --format --link" ;;
            explain) options+=" --json" ;;
            doctor) options+=" --node --json" ;;
            keygen) options+=" --network --preshared --force" ;;
            lab) options+=" --keys --underlay-only --dry-run --json --timeout --state" ;;
        esac
        mapfile -t COMPREPLY < <(compgen -W "$options" -- "$cur")
        return
    fi
    if [[ $verb == lab && $COMP_CWORD == 2 ]]; then
        mapfile -t COMPREPLY < <(compgen -W "up down exec ping" -- "$cur")
    elif [[ $verb == explain && $COMP_CWORD == 3 ]]; then
        COMPREPLY=(mtu)
    elif [[ $verb == explain && $COMP_CWORD == 4 ]]; then
        mapfile -t COMPREPLY < <(compgen -W "$(_overlayctl_names links)" -- "$cur")
    else
        mapfile -t COMPREPLY < <(compgen -f -- "$cur")
        compopt -o filenames 2>/dev/null
    fi
}

complete -F _overlayctl overlayctl
