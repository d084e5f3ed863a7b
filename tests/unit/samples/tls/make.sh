#!/bin/sh
# Makes the certificates and keys of the TLS tests anew. They protect nothing: nobody trusts these authorities.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
work=$(mktemp -d)
trap 'rm -r "$work"' EXIT
cd "$work"
cat >ca.cnf <<CONFIG
[ca]
default_ca = any
[any]
database = index
rand_serial = yes
new_certs_dir = .
default_md = sha256
policy = any_name
unique_subject = no
[any_name]
commonName = supplied
[authority]
basicConstraints = critical,CA:TRUE
keyUsage = critical,keyCertSign
subjectKeyIdentifier = hash
CONFIG
touch index

request() {  # name
    openssl req -new -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -keyout "$1.key" -out "$1.csr" \
        -subj "/CN=Test only: $1"
}
sign() {  # name, section of extensions, and who signs
    name=$1 section=$2
    shift 2
    openssl ca -batch -notext -config ca.cnf -extensions "$section" -startdate 20200101000000Z \
        -enddate 21200101000000Z -in "$name.csr" -out "test-only-$name.pem" "$@"
}
authority() {  # name
    request "$1"
    sign "$1" authority -selfsign -keyfile "$1.key"
}
signed() {  # name, authority, subject alternative name, purpose
    request "$1"
    printf '[%s]\nsubjectAltName=%s\nextendedKeyUsage=%s\nbasicConstraints=critical,CA:FALSE\n' \
        "$1" "$3" "$4" >>ca.cnf
    printf 'subjectKeyIdentifier=hash\nauthorityKeyIdentifier=keyid\n' >>ca.cnf
    sign "$1" "$1" -cert "test-only-$2.pem" -keyfile "$2.key"
    mv "$1.key" "test-only-$1.key"
}
authority authority
authority other-authority
signed server authority "IP:127.0.0.1,DNS:localhost" serverAuth
signed server-of-another-name authority "DNS:cashback.example" serverAuth
signed client authority "DNS:client.example" clientAuth
signed client-of-another-authority other-authority "DNS:client.example" clientAuth
openssl ec -in test-only-client.key -aes256 -passout pass:test-only -out test-only-client-encrypted.key
rm -f "$here"/test-only-*
cp test-only-* "$here"
