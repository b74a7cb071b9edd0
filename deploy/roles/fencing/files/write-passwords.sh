# Write the BMCs' passwords, which come on standard input as "NODE BASE64", where only root can read them; a line whose node
# is "-" has the wrapper of ipmitool. Prints "changed …" for what it did, and "older" where scripts are to be removed.
set -eu
umask 077
root=${VM_MGR_ROOT:-}
folder=$root/etc/vm-mgr/fence
mkdir -p "$folder" "$root/usr/lib/vm-mgr"
chmod 0755 "$root/etc/vm-mgr" "$root/usr/lib/vm-mgr"
chmod 0700 "$folder"

write() { # MODE FILE: put what comes on standard input there
    draft=$(dirname "$2")/.${2##*/}.new
    cat >"$draft"
    chmod "$1" "$draft"
    if cmp -s "$draft" "$2"; then rm "$draft"; else
        mv "$draft" "$2"
        echo "changed $2"
    fi
    chmod "$1" "$2"
}

wanted=
while read -r node text; do
    case $node in
    '') ;;
    -) printf %s "$text" | base64 -d | write 0700 "$root/usr/lib/vm-mgr/fence-ipmitool" ;;
    *)
        wanted="$wanted $node"
        { printf %s "$text" | base64 -d && echo; } | write 0600 "$folder/$node.password"
        printf '#!/bin/sh\necho %s\n' "$node" | write 0700 "$folder/$node.name"
        ;;
    esac
done
for file in "$folder"/*; do
    name=${file##*/}
    case $name in
    *.name | *.password) case " $wanted " in *" ${name%.*} "*) ;; *) rm "$file" && echo "changed $file" ;; esac ;;
    *) echo older ;; # a script that prints a password: until Pacemaker has been told of the new ones, it is called
    esac
done
