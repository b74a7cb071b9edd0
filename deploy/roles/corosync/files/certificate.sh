# One step of getting the nodes a certificate that the quorum device's machine has signed; see corosync-qdevice-net-certutil(8).
# usage: request CLUSTER, sign CLUSTER, accept or take. Data come on standard input, and go, as base64.
#
# A node is done when its database has the file with certificate and key, which comes last. A kill before that, or another
# authority, as that of a new machine, and all is made anew.
set -eu
umask 077
folder=${VM_MGR_ROOT:-}/etc/corosync/qdevice/net/nssdb
pair=$folder/qdevice-net-node.p12
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

is_done() { # AUTHORITY
    [ -e "$pair" ] && [ "$(base64 -w0 "$folder/authority.crt" 2>/dev/null)" = "$1" ]
}

begin() { # AUTHORITY
    rm -rf "$folder"
    printf %s "$1" | base64 -d >"$work/authority"
    corosync-qdevice-net-certutil -i -c "$work/authority" >&2
    cp "$work/authority" "$folder/authority.crt"
}

case $1 in
request)
    authority=$(cat)
    is_done "$authority" && exit 0
    begin "$authority"
    corosync-qdevice-net-certutil -r -n "$2" >&2
    base64 -w0 "$folder/qdevice-net-node.crq"
    ;;
sign)
    base64 -d >"$work/request"
    corosync-qnetd-certutil -s -c "$work/request" -n "$2" >&2
    base64 -w0 "${VM_MGR_ROOT:-}/etc/corosync/qnetd/nssdb/cluster-$2.crt"
    ;;
accept)
    base64 -d >"$folder/cluster.crt"
    corosync-qdevice-net-certutil -M -c "$folder/cluster.crt" >&2
    ;;
take)
    read -r authority
    read -r given
    is_done "$authority" && [ "$(base64 -w0 "$pair")" = "$given" ] && exit 0
    begin "$authority"
    printf %s "$given" | base64 -d >"$work/pair"
    corosync-qdevice-net-certutil -m -c "$work/pair" >&2
    mv "$work/pair" "$pair"
    echo changed
    ;;
esac
