# Install the archive that comes, as base64, on standard input, as a version beside those that are there.
#
# Prints "first" where vm-mgr was not installed before: the version is then put to use at once ("changed"). Elsewhere it
# prints "waits DIRECTORY" where that version's exchange.sh has something to do; and "restart-due" where libvirt is to be
# restarted. A kill at any moment leaves what was there: a version gets its name when it is complete and on the disk.
set -eu
umask 022
root=${VM_MGR_ROOT:-}
home=$root/usr/lib/vm-mgr
mkdir -p "$home/versions"
chmod 0755 "$home" "$home/versions"
rm -rf "$home/versions"/.new.*
work=$(mktemp -d "$home/versions/.new.XXXXXX")
trap 'rm -rf "$work"' EXIT
base64 -d >"$work/archive"
sum=$(sha256sum <"$work/archive")
name=$(printf %.16s "$sum")
version=$home/versions/$name

if [ ! -d "$version" ]; then
    mkdir "$work/tree"
    tar -xzf "$work/archive" -C "$work/tree"
    # Compiled before it is put in place: neither a first call nor a restricted user finds sources only.
    ${VM_MGR_PYTHON:-/usr/bin/python3} -m compileall -q --invalidation-mode unchecked-hash -s "$work/tree" -p "$version" "$work/tree"
    # An agent knows its version from the beginning, also one that runs while another version is put to use.
    for agent in alert VirtualDomain DiskLocks Node; do
        sed -i "s,/usr/lib/vm-mgr/current,$version,g" "$work/tree/ocf/$agent"
    done
    chmod 0755 "$work/tree" "$work/tree/ocf"/* "$work/tree/entry/vm-mgr"
    sync -f "$work/tree"
    mv -T "$work/tree" "$version"
fi

[ ! -e "$root/run/vm-mgr-libvirt-due" ] || echo restart-due
if [ -e "$home/installed" ] || [ -e "$home/current" ]; then
    [ -z "$(sh "$version/entry/exchange.sh" look)" ] || echo "waits $version"
else
    echo first
    sh "$version/entry/exchange.sh"
fi
