# Wait until nothing starts, stops or moves on this node; usage: when-quiet.sh SECONDS. What is under way ends in the
# version and under the daemon with which it began.
set -eu
patience=$1

under_way() {
    if systemctl is-active --quiet pacemaker.service; then
        pending=$(timeout 30 cibadmin --query --xpath "//node_state[@uname='$(uname -n)']//lrm_rsc_op[@op-status='-1']" 2>/dev/null) ||
            [ $? -eq 105 ] || { echo "Pacemaker does not answer" && return; } # 105: there is none
        printf '%s\n' "$pending" | sed -nE 's/.* operation_key="([^"]*_(start|stop|migrate_to|migrate_from)_[0-9]+)".*/\1/p'
    fi
    # libvirt notes a migration, to here or from here, and other long jobs.
    grep -lE "<job [^>]*async='(migration|save|start|dump|snapshot|backup)" "${VM_MGR_LIBVIRT_RUN:-/run/libvirt/qemu}"/*.xml 2>/dev/null || true
}

while found=$(under_way) && [ -n "$found" ]; do
    [ "$patience" -gt 0 ] || {
        echo "$(uname -n) is still busy, and nothing was changed there: $(echo "$found" | tr '\n' ' '); run the playbook again later" >&2
        exit 1
    }
    patience=$((patience - 1))
    sleep 1
done
