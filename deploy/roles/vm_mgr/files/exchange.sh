# Put the version that this file is in to use; prints "changed …" for what it did. With the argument "look" it only says so.
#
# One rename decides: the links of the agents, the command and the libraries all go through "current". What runs already
# stays with its own version, which is there until the next boot. A kill at any moment leaves a version in use.
set -eu
umask 022
doing=${1:-do}
root=${VM_MGR_ROOT:-}
home=$root/usr/lib/vm-mgr
version=$(CDPATH='' cd -P "$(dirname "$0")/.." && pwd)
entry=$version/entry
new=
[ -e "$home/installed" ] || new=yes

do_it() { # WHAT…: tell what there is to do, and whether it is to be done
    echo "changed $*"
    [ "$doing" = do ]
}

link() { # CONTENT LINK
    [ "$(readlink "$2")" != "$1" ] || return 0
    do_it "$2" || return 0
    ln -sfn "$1" "$(dirname "$2")/.${2##*/}.new"
    mv -T "$(dirname "$2")/.${2##*/}.new" "$2"
}

place() { # FILE TARGET MODE [FOLDER OF THE DRAFT]
    [ "$(stat -c %a "$2" 2>/dev/null)" != "$3" ] || [ -L "$2" ] || ! cmp -s "$1" "$2" || return 0
    do_it "$2" || return 0
    draft=${4:-$(dirname "$2")}/.${2##*/}.new
    rm -f "$draft"
    install -m "$3" "$1" "$draft"
    sync "$draft"
    mv -T "$draft" "$2"
}

# Print what the next boot removes: every version but this one, and one that had no folder of its own.
outdated() { # [VERSION THAT STAYS]
    echo "# Written by vm-mgr's deployment: versions that nothing uses after the next boot."
    for other in "$home"/versions/*; do
        [ "$other" = "$version" ] || [ "$other" = "${1:-}" ] || echo "R! ${other#"$root"}"
    done
    [ -z "${1:-}" ] || return 0
    for package in vm_mgr vm_manager; do
        [ -L "$home/$package" ] || [ ! -d "$home/$package" ] || echo "R! ${home#"$root"}/$package"
    done
}

forget_at_boot() {
    outdated "$@" >"$notes/outdated"
    place "$notes/outdated" "$root/etc/tmpfiles.d/vm-mgr-versions.conf" 644
}

notes=$(mktemp -d)
trap 'rm -rf "$notes"' EXIT
agents=$root/usr/lib/ocf/resource.d/vm-mgr
mkdir -p "$root/etc/tmpfiles.d" "$root/etc/vm-mgr" "$root/usr/bin" "$root/usr/lib/python3/dist-packages" \
    "$root/usr/share/bash-completion/completions" "$agents"

if [ "$(readlink "$home/current")" != "versions/${version##*/}" ]; then
    # Neither the version that is in use nor this one, if the machine boots before the rest is done.
    [ ! -e "$home/current" ] || [ "$doing" != do ] || forget_at_boot "$(readlink -f "$home/current")"
    link "versions/${version##*/}" "$home/current"
fi
for agent in VirtualDomain DiskLocks Node; do
    link "../../../vm-mgr/current/ocf/$agent" "$agents/$agent"
done
link current/ocf/alert "$home/alert"
# What DRBD calls; it is known by the name that it was called by.
for handler in drbd-fence-peer drbd-unfence-peer drbd-notify; do
    link current/ocf/drbd-handler "$home/$handler"
done
link ../lib/vm-mgr/current/entry/vm-mgr "$root/usr/bin/vm-mgr"
# The name that SEAPATH's scripts call.
link vm-mgr "$root/usr/bin/vm_manager_cmd"
# One line in a directory that the Python of every Debian looks into: `import vm_manager`, whichever its version.
echo "$home/current" >"$notes/pth"
place "$notes/pth" "$root/usr/lib/python3/dist-packages/vm-mgr.pth" 644
place "$entry/completion" "$root/usr/share/bash-completion/completions/vm-mgr" 644
# Who was told the older place of the libraries finds them there.
for package in vm_mgr vm_manager; do
    [ -d "$home/$package" ] && [ ! -L "$home/$package" ] || link "current/$package" "$home/$package"
done

# From here on the hook refuses every start that it can't judge; so it comes last, and this mark is never taken away.
echo "${version##*/}" >"$notes/installed"
place "$notes/installed" "$home/installed" 644
# In qemu.d, beside a hook that somebody else may have in /etc/libvirt/hooks/qemu. libvirt looks for new ones when it starts;
# for the first installation it is restarted anyway.
if [ -d "$root/etc/libvirt/hooks" ]; then
    hook=$root/etc/libvirt/hooks/qemu.d/vm-mgr
    mkdir -p "${hook%/*}"
    [ -n "$new" ] || [ -e "$hook" ] || [ "$doing" != do ] || { : >"$root/run/vm-mgr-libvirt-due" && echo restart-due; }
    place "$entry/hook" "$hook" 755 "$root/etc/vm-mgr"
fi
forget_at_boot
