# A server for practice: two tools over standard input and output. It reads with patterns, not as
# JSON, which is enough for what this harness sends.
answer() { printf '{"jsonrpc":"2.0","id":%s,"result":{%s}}\n' "$id" "$1"; }
text() { answer '"content":[{"type":"text","text":"'"$1"'"}]'; }
field() { [[ $line =~ \"$1\":\"?([^\",}]*) ]] && printf %s "${BASH_REMATCH[1]}"; }

zone='"properties":{"zone":{"type":"string","description":"Such as Asia/Tokyo"}},"required":["zone"],"additionalProperties":false'
tools='"tools":[{"name":"now","description":"The time, in UTC","inputSchema":{"type":"object","additionalProperties":false}},'
tools+='{"name":"in_zone","description":"The time in a zone","inputSchema":{"type":"object",'$zone'}}]'
about='"serverInfo":{"name":"time","version":"1"},"capabilities":{"tools":{}}'

while read -r line; do
    id=$(field id) || continue # nobody waits for an answer
    case $(field method):$(field name) in
        initialize:*) answer '"protocolVersion":"2025-11-25",'"$about" ;;
        tools/list:*) answer "$tools" ;;
        tools/call:now) text "$(date -u +%H:%M) UTC" ;;
        tools/call:in_zone) text "$(TZ=$(field zone) date +%H:%M) in $(field zone)" ;;
        *) answer '' ;;
    esac
done
