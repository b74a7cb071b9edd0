# Remove what by_hand.sh has made.
set -eu
crm_resource --resource hand --meta --set-parameter target-role --parameter-value Stopped
crm_resource --wait --timeout 120s
cibadmin --delete --xml-text '<primitive id="hand"/>'
rbd --no-progress rm rbd/system_hand
