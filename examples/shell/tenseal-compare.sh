#!/usr/bin/env bash
# Compares two TenSEAL vectors on a veilface server with `buf curl`, base64, sha256sum, dd, od and sed alone: no stubs, no contract
# files (the server's reflection tells buf what it needs). For what the files are, see ../python/tenseal_compare.py.
set -euo pipefail
export LC_ALL=C

usage() {
  cat >&2 <<'END'
usage: tenseal-compare.sh URL public.bin v1.bin v2.bin d.bin [flags of buf curl]

  URL         the matching server: http://127.0.0.1:50051, or https://...
  public.bin  a public TenSEAL context with Galois keys: context.serialize(), without save_secret_key=True
  v1.bin ...  encrypted vectors: ts.ckks_vector(context, v).serialize()
  d.bin       where the reply goes: a TenSEAL vector of one component, the squared distance
              v = ts.lazy_ckks_vector_from(reply); v.link_context(secret_context); v.decrypt()[0]

Files may be raw or base64 text. For TLS with a certificate of your own, end with: --cacert ca.pem
BUF names the buf to use (default: the one of the repository, else the one on the PATH).
END
  exit 2
}

fail() {
  printf '%s: %s\n' "${0##*/}" "$1" >&2
  exit 1
}

# Copies a file that TenSEAL serialised, taking off base64 if it is in base64.
read_tenseal_file() { # FROM TO
  [[ -r $1 ]] || fail "$1 cannot be read"
  if grep -qa '[^A-Za-z0-9+/=[:space:]]' "$1"; then
    cp "$1" "$2"
  else
    base64 --decode "$1" > "$2" || fail "$1 is neither a file of TenSEAL nor base64 of one"
  fi
}

# Reads the varint at place `used` of the array `bytes` into `value`, and moves `used` behind it.
read_varint() {
  local shift=0 byte=128
  value=0
  while ((byte >= 128)); do
    byte=${bytes[used]:-}
    [[ -n $byte ]] && ((shift < 63)) || return 1
    ((value |= (byte & 127) << shift, shift += 7, used += 1))
  done
}

# Prints the fields of a protobuf message as " NUMBER:WIRETYPE NUMBER:WIRETYPE ", or fails if it is none.
fields_of() { # FILE
  local size at=0 used value key fields=' '
  local -a bytes
  size=$(wc -c < "$1")
  while ((at < size)); do
    read -r -a bytes < <(od -An -v -tu1 -w20 -j "$at" -N 20 "$1")
    used=0
    read_varint || return 1
    key=$value
    case $((key & 7)) in
      0) read_varint || return 1 ;;
      1) ((used += 8)) ;;
      2) read_varint && ((value <= size)) || return 1; ((used += value)) ;;
      5) ((used += 4)) ;;
      *) return 1 ;;
    esac
    ((at += used))
    fields+="$((key >> 3)):$((key & 7)) "
  done
  ((at == size)) && printf '%s' "$fields"
}

# Field 1 of a TenSEALContextProto are the parameters, 2 what is public, 3 what is secret. A CKKSVectorProto has its scale, a double, as 3.
check_context() { # FILE NAME
  local fields
  fields=$(fields_of "$1") || fail "$2 is not a TenSEAL context: expected what context.serialize() returns"
  [[ $fields != *' 3:2 '* ]] || fail "$2 holds the secret key, and nothing of it was sent: write it with context.serialize(), without save_secret_key=True"
  [[ $fields == *' 1:2 '* && $fields == *' 2:2 '* && $fields != *' 3:'* ]] || fail "$2 is not a TenSEAL context: expected what context.serialize() returns"
}

check_vector() { # FILE NAME
  local fields
  fields=$(fields_of "$1") && [[ $fields != *' 3:2 '* && $fields == *' 2:2 '* && $fields == *' 3:1 '* ]] ||
    fail "$2 is not a TenSEAL CKKS vector: expected what ts.ckks_vector(context, v).serialize() returns"
}

# The SHA-256 of stdin in base64, as the JSON form of the contract wants bytes.
sha256_base64() {
  local digest
  digest=$(sha256sum)
  printf "$(sed 's/../\\x&/g' <<< "${digest%% *}")" | base64 --wrap=0
}

# What buf reports of a failed call, in a line: the reason in the google.rpc.ErrorInfo, which is its first name in capitals, and the text.
refusal_in() { # FILE
  local info text
  info=$(sed -n '/google.rpc.ErrorInfo/{n;s/.*"value": "\([^"]*\)".*/\1/p;}' "$1")
  # buf leaves out the padding of base64.
  while ((${#info} % 4)); do info+='='; done
  base64 --decode <<< "$info" 2> /dev/null | grep -aoE '[A-Z][A-Z_]{3,}' | sed -n '1s/$/: /p' | tr -d '\n'
  text=$(sed -n 's/^ *"message": "\(.*\)",\{0,1\}$/\1/p' "$1")
  printf '%s' "${text:-$(< "$1")}"
}

# Calls an rpc with JSON from stdin; the answer in JSON goes to stdout.
call() { # RPC [FLAGS]
  local rpc=$1
  shift
  if ! "$buf" curl --protocol grpc "${buf_flags[@]}" "$@" "$url/$rpc" 2> "$work/refusal"; then
    fail "$rpc failed: $(refusal_in "$work/refusal")"
  fi
}

check_health() {
  # Not every server's reflection tells of the health service, so that its description is at hand, cut down to what is read.
  local answer
  answer=$(call grpc.health.v1.Health/Check --data '{}' --reflect --schema -#format=json <<'END'
{"file": [{"name": "health.proto", "package": "grpc.health.v1", "syntax": "proto3",
  "messageType": [{"name": "HealthCheckRequest"}, {"name": "HealthCheckResponse",
    "field": [{"name": "status", "number": 1, "type": "TYPE_ENUM", "typeName": ".grpc.health.v1.Status", "label": "LABEL_OPTIONAL", "jsonName": "status"}]}],
  "enumType": [{"name": "Status", "value": [{"name": "UNKNOWN", "number": 0}, {"name": "SERVING", "number": 1}, {"name": "NOT_SERVING", "number": 2}]}],
  "service": [{"name": "Health", "method": [{"name": "Check", "inputType": ".grpc.health.v1.HealthCheckRequest", "outputType": ".grpc.health.v1.HealthCheckResponse"}]}]}]}
END
  )
  [[ $answer == *'"SERVING"'* ]] || fail "the server at $url is not serving at present: try again later"
}

# The messages of CreateContext, one JSON document each: the announcement, then chunks of 1 MiB.
upload_messages() { # FILE
  local size offset=0 chunk_bytes=1048576
  size=$(wc -c < "$1")
  printf '{"newContext": {"context": {"pairwise": {}}, "keyUploads": [{"material": "%s", "totalBytes": %d, "sha256": "%s"}]}}\n' \
    KEY_MATERIAL_TENSEAL_CONTEXT "$size" "$(sha256_base64 < "$1")"
  while ((offset < size)); do
    printf '{"keyChunk": {"material": "KEY_MATERIAL_TENSEAL_CONTEXT", "offset": %d, "data": "' "$offset"
    dd if="$1" bs="$chunk_bytes" skip=$((offset / chunk_bytes)) count=1 status=none | base64 --wrap=0
    printf '"}}\n'
    ((offset += chunk_bytes))
  done
}

ciphertext() { # FILE
  printf '{"contextId": "%s", "encoding": "CIPHERTEXT_ENCODING_TENSEAL_CKKS_VECTOR", "sha256": "%s", "data": "' \
    "$context_id" "$(sha256_base64 < "$1")"
  base64 --wrap=0 "$1"
  printf '"}'
}

comparison() {
  printf '{"operation": "PAIRWISE_OPERATION_SQUARED_DISTANCE", "first": '
  ciphertext "$work/first"
  printf ', "second": '
  ciphertext "$work/second"
  printf '}\n'
}

string_field() { # NAME, JSON on stdin
  sed -n 's/.*"'"$1"'": *"\([^"]*\)".*/\1/p'
}

(($# >= 5)) || usage
url=${1%/} output=$5
repository=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
buf=${BUF:-$repository/node_modules/.bin/buf}
[[ -x $buf ]] || buf=$(command -v buf) || fail "buf was not found: run npm ci in the repository, or name it in BUF"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# Everything is read and looked at before anything is sent.
read_tenseal_file "$2" "$work/context"
read_tenseal_file "$3" "$work/first"
read_tenseal_file "$4" "$work/second"
check_context "$work/context" "$2"
check_vector "$work/first" "$3"
check_vector "$work/second" "$4"
buf_flags=("${@:6}")

check_health
upload_messages "$work/context" | call veilface.v1.ContextService/CreateContext --data @- > "$work/created"
context_id=$(string_field contextId < "$work/created")
echo "context $context_id"
comparison | call veilface.v1.MatchingService/CompareCiphertexts --data @- > "$work/reply"
string_field data < "$work/reply" | base64 --decode > "$work/distance"
[[ $(sha256_base64 < "$work/distance") == "$(string_field sha256 < "$work/reply")" ]] || fail "the reply was damaged on its way: ask again"
cp "$work/distance" "$output"
echo "$output: $(wc -c < "$output") bytes, a TenSEAL vector of one component: the squared distance"
