# Append a record to the second partition every 100 ms, with O_DSYNC, and print it once the write has returned.
#
# A record is one sector of text: "VMREC1 boot=UUID seq=N time=SECONDS sum=N". Sequence numbers go on across boots;
# record N lies in sector N modulo the number of sectors, so the last one is found again after a boot.
#
# It loads no module, not even strict: without KVM that alone takes longer than all else that it does before it writes.

my $SECTOR = 512;
my $PERIOD = 0.1;
my ($O_RDWR, $O_DSYNC, $SEEK_SET, $SEEK_END) = (2, 0x1000, 0, 2);
my $CLOCK_GETTIME = 228;    # x86-64, see syscall(2)

$| = 1;
open my $kernel, '<', '/proc/sys/kernel/random/boot_id' or die "boot id: $!";
chomp(my $boot = <$kernel>);
my $disk;
for (1 .. 400) {
    last if sysopen $disk, '/dev/vda2', $O_RDWR | $O_DSYNC;
    select undef, undef, undef, 0.05;
}
die "no disk: $!" unless $disk;
my $sectors = sysseek($disk, 0, $SEEK_END) / $SECTOR or die "size: $!";

sub seq_at {
    my ($slot) = @_;
    sysseek $disk, $slot * $SECTOR, $SEEK_SET;
    my $text;
    sysread $disk, $text, $SECTOR;
    return ($text // '') =~ /^VMREC1 boot=\S+ seq=(\d+) / ? $1 + 0 : -1;
}

sub last_seq {
    my $first = seq_at(0);
    return -1 if $first < 0;
    my ($low, $high) = (0, $sectors - 1);    # the records after the first go up by one until the last
    while ($low < $high) {
        my $middle = int(($low + $high + 1) / 2);
        if (seq_at($middle) == $first + $middle) { $low = $middle } else { $high = $middle - 1 }
    }
    return $first + $low;
}

sub now {
    my $time = pack 'qq', 0, 0;
    syscall $CLOCK_GETTIME, 0, $time;
    my ($s, $ns) = unpack 'qq', $time;
    return sprintf '%d.%03d', $s, $ns / 1e6;
}

sub start_services {
    if (!fork) { exec '/services.sh' or die "services: $!" }
    $SIG{CHLD} = 'IGNORE';    # the first process has to bury all orphans
}

my $seq = last_seq();
print "RECORDER boot=$boot after=$seq\n";
my $next = now();
my $served;
while (1) {
    $seq++;
    my $text = sprintf 'VMREC1 boot=%s seq=%d time=%s', $boot, $seq, now();
    my $sector = $text . ' sum=' . unpack('%32C*', $text);
    $sector .= ' ' x ($SECTOR - 1 - length $sector) . "\n";
    sysseek $disk, ($seq % $sectors) * $SECTOR, $SEEK_SET;
    my $written = syswrite $disk, $sector, $SECTOR;
    if (defined $written && $written == $SECTOR) { print "$text\n" }
    else { print "WRITE-FAILED seq=$seq error=$!\n"; $seq-- }
    start_services() unless $served++;
    $next += $PERIOD;
    my $wait = $next - now();
    if ($wait > 0) { select undef, undef, undef, $wait } else { $next = now() }
}
