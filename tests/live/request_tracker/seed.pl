# Create a user with only the rights that the connector needs, and tickets whose transactions all have the same time.
# Print the user's token. Argument: number of tickets.
use strict;
use warnings;
use RT;

sub done {
    my ($ok, $said, @rest) = @_;
    die "$said\n" unless $ok;
    return ($ok, $said, @rest);
}

RT::LoadConfig();
RT::Init();
my $user = RT::User->new(RT->SystemUser);
done($user->Create(Name => 'touchline', Privileged => 1));
done($user->PrincipalObj->GrantRight(Right => $_, Object => RT->System)) for qw(SeeQueue ShowTicket);
my $billing = RT::Queue->new(RT->SystemUser);
done($billing->Create(Name => 'Billing'));
for my $number (0 .. $ARGV[0] - 1) {
    my $ticket = RT::Ticket->new(RT->SystemUser);
    my $said = MIME::Entity->build(Type => 'text/plain; charset=UTF-8', Charset => 'UTF-8', Data => ["It broke: $number"]);
    my ($id, undef, $why) = $ticket->Create(Queue => 'General', Subject => "Help $number", Requestor => "c$number\@example.org", MIMEObj => $said);
    die "$why\n" unless $id;
}
RT->DatabaseHandle->dbh->do("UPDATE Transactions SET Created = '2026-03-01 09:00:00' WHERE ObjectType = 'RT::Ticket'");
my (undef, undef, $token) = done(RT::AuthToken->new(RT->SystemUser)->Create(Owner => $user->id, Description => 'touchline'));
print $token;
