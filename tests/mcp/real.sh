#!/usr/bin/env bash
# The servers that people have, with the real program. Not part of CI, as it needs the network:
# installs five servers, and prints a row for each: its tools, a call, a call that goes wrong, off
# and on, and how many of its processes are left after each way in which the program can end.
#
#   cargo build --bin s17_mcp && tests/mcp/real.sh [FOLDER]
set -eu
program=$PWD/target/debug/s17_mcp
work=${1:-$(mktemp -d)}
mkdir -p "$work/state" && cd "$work"
[ -d venv ] || python3 -m venv venv
venv/bin/pip install -q mcp-server-time mcp-server-git
npm install --silent --prefix "$work" @modelcontextprotocol/server-{everything,filesystem,memory} >&2
[ -d repo ] || git init -q repo
export XDG_STATE_HOME=$work/state MEANWHILE_THINKING_MS=0

row() { # name, good call, bad call, command and arguments
    local name=$1 good=$2 bad=$3 args='' folder=$work/at-$1
    shift 3
    mkdir -p "$folder"
    for arg in "${@:2}"; do args+=",\"$arg\""; done
    local config='{"mcpServers":{"'$name'":{"command":"'$1'","args":['${args:1}']}}}'
    echo "$config" > "$folder/.mcp.json"
    local say=("/mcp off time" "/mcp on $name" "call mcp__${name}__$good" "call mcp__${name}__$bad"
        "/mcp off $name" "call mcp__${name}__$good" "/mcp on $name" "/mcp")
    (cd "$folder" && printf '%s\n' "${say[@]}" | timeout 120 "$program" > shown 2>&1)
    local line called='no' refused='no' toggled='no' left pid way
    line=$(grep -m1 "^$name  on, running" "$folder/shown" || echo "did not start")
    [ "$(grep -c '<mcp-result' "$folder/shown")" -ge 1 ] && called=yes
    grep -q '^  └ .*ERROR: \(the tool says\|.*refuses\)' "$folder/shown" && refused=yes
    grep -q "there is no tool \"mcp__$name" "$folder/shown" && toggled=yes
    [ "$(cat "$folder/.mcp.json")" = "$config" ] || toggled='no: the config has changed'
    left=$(left "$folder")
    for way in KILL TERM HUP INT end; do
        rm -f "$folder/lines" "$folder/shown2"
        mkfifo -m 600 "$folder/lines"
        (cd "$folder" && exec "$program" --yes < lines > shown2 2>&1) &
        pid=$!
        exec 9> "$folder/lines"
        echo 'run "echo begun"' >&9
        until grep -qs '· begun' "$folder/shown2" || ! kill -0 "$pid" 2>&-; do sleep 0.1; done
        [ "$(left "$folder")" -gt 0 ] || line+=" (was not running at $way)"
        if [ "$way" = end ]; then exec 9>&-; else kill -"$way" "$pid"; fi
        for _ in {1..50}; do
            [ "$(left "$folder")" != 0 ] || kill -0 "$pid" 2>&- || break
            sleep 0.1
        done
        left+=", $(left "$folder")"
        if [ "$(readlink "/proc/$pid/cwd" 2>&-)" = "$folder" ]; then
            left+=' (did not end)'
            kill -9 "$pid"
        fi
        wait "$pid" 2>&- || true
        exec 9>&-
    done
    line=${line#*running  }
    echo "| ${name%_} | ${line%%  protocol*} | ${line##*protocol } | $called | $refused | $toggled | $left |"
}

# How many processes work in this folder, this program aside.
left() {
    local count=0 process
    for process in /proc/[0-9]*; do
        [ "$(readlink "$process/cwd" 2>&-)" = "$1" ] || continue
        case $(cat "$process/comm" 2>&-) in s17_mcp | supervisor | '') ;; *) count=$((count + 1)) ;; esac
    done
    echo $count
}

echo '| Server | Tools | Protocol | Call | Call with an error | off, on | Left after exit, kill -9, TERM, HUP, INT, end of input |'
echo '|---|---|---|---|---|---|---|'
row time_ 'get_current_time {"timezone":"UTC"}' 'get_current_time {"timezone":"No/Where"}' \
    "$work/venv/bin/mcp-server-time"
row git "git_status {\"repo_path\":\"$work/repo\"}" 'git_status {"repo_path":"/nowhere"}' \
    "$work/venv/bin/mcp-server-git"
row everything 'echo {"message":"hello"}' 'echo {"message":1}' \
    node "$work/node_modules/@modelcontextprotocol/server-everything/dist/index.js"
row filesystem "list_directory {\"path\":\"$work/repo\"}" 'list_directory {"path":"/etc"}' \
    node "$work/node_modules/@modelcontextprotocol/server-filesystem/dist/index.js" "$work/repo"
row memory 'read_graph {}' 'create_entities {"entities":1}' \
    node "$work/node_modules/@modelcontextprotocol/server-memory/dist/index.js"
