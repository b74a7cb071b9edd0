# Give Ceph's running daemons its own timeouts (set), or what their configuration file has (unset).
for daemons in osd mon; do
    for pair in osd_heartbeat_interval=6 osd_heartbeat_grace=20 mon_osd_min_down_reporters=2 \
        mon_osd_adjust_heartbeat_grace=true mon_lease=5 mon_election_timeout=5; do
        value=${pair#*=}
        [ "$1" = set ] || value=$(sed -n "s/^${pair%=*} = //p" /etc/ceph/ceph.conf)
        ceph tell "$daemons.*" config set "${pair%=*}" "$value" >/dev/null
    done
done
