# Remove what make_tiny.sh has made: COUNT. Clones before what they share blocks with.
there=$(vm-mgr list --output json)
for number in $(seq $(($1 - 1)) -1 0); do
    case $there in *"\"tiny$number\""*)
        vm-mgr stop --force "tiny$number" || :
        vm-mgr remove "tiny$number"
        ;;
    esac
done
rm -f /root/tiny.xml /root/tiny.raw
