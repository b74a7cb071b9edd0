# Power off when the ACPI power button is pressed, as virsh shutdown does. Arguments: the devices of input events.

my $KEY_POWER = 116;
for my $event (@ARGV) {
    next if fork;
    open my $keys, '<:raw', $event or exit;
    while (sysread $keys, my $raw, 24) {
        my (undef, undef, $type, $code, $value) = unpack 'qqSSl', $raw;
        next unless $type == 1 && $code == $KEY_POWER && $value == 1;
        open my $console, '>', '/dev/console';
        print $console "POWER-BUTTON\n";
        system 'sync';
        system 'poweroff', '-f';
    }
    exit;
}
