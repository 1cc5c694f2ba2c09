//! Connections that have not said hello, or logged in: bounded in number, per source and in time, whatever they do meanwhile.
//!
//! [`Pending`] is the table of them. In a source that has its share, and in a source with many when the table is full, one makes
//! room: of those that have had their [`GRACE`], or if none has of all, the oldest of those that have come least far. So who says
//! hello at once gets in, also while a crowd, or a neighbour behind the same NAT, or both, hold connections, whatever they say without a
//! hello, or renew such as say nothing.
//! Each connection carries an [`Admission`], which ends it at its deadline unless its hello was accepted by then.

mod placed;

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::task::AtomicWaker;
use quartet_proto::rate::source_of;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::time::{Instant, sleep_until, timeout_at};

pub(super) use placed::PlacedStream;

/// How long a new connection is not among the first to go: time for its task to read what it says, and for that to arrive.
const GRACE: Duration = Duration::from_secs(2);
/// How long a connection that is over may take for what is still to be sent and read.
pub(super) const CLOSING: Duration = Duration::from_secs(1);
/// The same when the other side has closed.
const CLOSED: Duration = Duration::from_millis(200);
/// Connections that are over and may still take that time, all together.
pub(super) const MAX_OVER: usize = 64;
/// What is read of a connection before its hello is accepted: a request's head and a hello have 10 KiB at most. Without this
/// a frame without an end would fill a buffer of [`quartet_proto::hub::MAX_FRAME`] on each.
const MAX_READ: usize = 32 * 1024;
/// The connections that have not said hello.
#[derive(Debug)]
pub(super) struct Pending {
    /// All of them.
    max: usize,
    /// Those of one source.
    max_per_source: usize,
    /// Bytes of one that is admitted.
    max_read_per_second: u32,
    table: Mutex<Table>,
    /// Places for those that are over and not gone yet.
    over: Arc<Semaphore>,
}

#[derive(Debug, Default)]
struct Table {
    next: u64,
    /// By key, and so in the order in which they came.
    connections: BTreeMap<u64, (IpAddr, Arc<Admission>)>,
    /// The keys of each source, none empty.
    sources: BTreeMap<IpAddr, BTreeSet<u64>>,
}

impl Table {
    fn of(&self, source: IpAddr) -> usize {
        self.sources.get(&source).map_or(0, BTreeSet::len)
    }

    fn forget(&mut self, source: IpAddr, key: u64) {
        if let Some(keys) = self.sources.get_mut(&source) {
            keys.remove(&key);
            if keys.is_empty() {
                self.sources.remove(&source);
            }
        }
    }

    /// Of these connections the one that makes room first: of those that are no longer new the one that has come least far.
    ///
    /// If all are new, those that have sent nothing and those that have share the places: the oldest of whichever has more than
    /// its half goes. So neither a crowd that says nothing nor one that says much takes the place of somebody whose answer is on its way.
    fn first_to_go(&self, now: Instant, keys: impl Iterator<Item = u64>) -> Option<u64> {
        let (mut old, mut silent, mut others) = (None, (0, None), (0, None));
        for key in keys {
            let Some((_, admission)) = self.connections.get(&key) else {
                continue;
            };
            let progress = admission.progress();
            if admission.grace <= now {
                let place = Some((progress, key));
                old = if old.is_none() { place } else { old.min(place) };
                continue;
            }
            let class = if progress == Progress::Silent {
                &mut silent
            } else {
                &mut others
            };
            class.0 += 1;
            class.1 = Some(class.1.map_or(key, |oldest: u64| oldest.min(key)));
        }
        let first_new = if silent.0 >= others.0 { silent.1 } else { others.1 };
        old.map(|(_, key)| key).or(first_new)
    }

    /// Takes out the one of a source that makes room first.
    fn remove_first_of(&mut self, source: IpAddr) -> Option<Arc<Admission>> {
        let keys = self.sources.get(&source)?.iter().copied();
        self.remove(self.first_to_go(Instant::now(), keys)?)
    }

    fn remove(&mut self, key: u64) -> Option<Arc<Admission>> {
        let (source, admission) = self.connections.remove(&key)?;
        self.forget(source, key);
        Some(admission)
    }
}

impl Pending {
    pub(super) fn new(max: usize, max_per_source: usize, max_read_per_second: u32) -> Self {
        Self {
            max,
            max_per_source,
            max_read_per_second,
            table: Mutex::default(),
            over: Arc::new(Semaphore::new(MAX_OVER)),
        }
    }

    /// Ends one of a source that has its share, so that it may have one more.
    ///
    /// A proxy on this machine connects for everybody: whom it connects for is known after the headers only, and counted
    /// by [`Admission::name_source`] then. Until then its connections are bounded by the table as a whole.
    pub(super) fn make_room_for(&self, address: IpAddr) {
        let source = source_of(address);
        let mut table = self.lock();
        let is_full = table.of(source) >= self.limit_of(source);
        let evicted = is_full.then(|| table.remove_first_of(source)).flatten();
        drop(table);
        evict(evicted);
    }

    /// Whether there are as many as there may be: then one makes room for the next.
    pub(super) fn is_full(&self) -> bool {
        self.lock().connections.len() >= self.max
    }

    /// Whether there is none.
    pub(super) fn is_empty(&self) -> bool {
        self.lock().connections.is_empty()
    }

    /// Takes in a connection from this address.
    pub(super) fn enter(self: &Arc<Self>, address: IpAddr, deadline: Instant) -> Arc<Admission> {
        self.enter_at(Instant::now(), address, deadline)
    }

    fn enter_at(self: &Arc<Self>, now: Instant, address: IpAddr, deadline: Instant) -> Arc<Admission> {
        let source = source_of(address);
        let mut table = self.lock();
        let key = table.next;
        table.next += 1;
        let admission = Arc::new(Admission {
            key,
            grace: now + GRACE,
            deadline,
            standing: watch::Sender::new(Standing::Pending),
            progress: AtomicU8::new(Progress::Silent as u8),
            reader: AtomicWaker::new(),
            over: Mutex::new(None),
            pending: Arc::clone(self),
        });
        table.connections.insert(key, (source, Arc::clone(&admission)));
        table.sources.entry(source).or_default().insert(key);
        admission
    }

    /// Ends one, if there is any: of the sources with the most of those that have one that is no longer new; if all are new, of those
    /// with the most if that is more than half of their share, or else of all. So users behind one address, who are two or three, yield to
    /// no crowd of single ones that is older.
    pub(super) fn evict(&self) {
        self.evict_at(Instant::now());
    }

    fn evict_at(&self, now: Instant) {
        let mut table = self.lock();
        let is_old = |key: &u64| {
            table
                .connections
                .get(key)
                .is_some_and(|(_, admission)| admission.grace <= now)
        };
        let mut sources: Vec<_> = table.sources.values().collect();
        // Up to so many, a source has no more than others.
        let mut few = 0;
        if table.connections.keys().any(is_old) {
            sources.retain(|keys| keys.iter().any(is_old));
        } else {
            few = self.max_per_source / 2;
        }
        let most = sources.iter().map(|keys| keys.len()).max().filter(|most| *most > few);
        sources.retain(|keys| most.is_none_or(|most| keys.len() == most));
        let first = table.first_to_go(now, sources.into_iter().flatten().copied());
        let evicted = first.and_then(|key| table.remove(key));
        drop(table);
        evict(evicted);
    }

    fn limit_of(&self, source: IpAddr) -> usize {
        if source.is_loopback() {
            usize::MAX
        } else {
            self.max_per_source
        }
    }

    /// Takes a connection out; `false` if it was admitted, evicted or gone before.
    fn leave(&self, key: u64) -> bool {
        self.lock().remove(key).is_some()
    }

    fn lock(&self) -> MutexGuard<'_, Table> {
        self.table.lock().expect("nobody panics while holding the table")
    }
}

fn evict(evicted: Option<Arc<Admission>>) {
    if let Some(evicted) = evicted {
        evicted.end("no hello, and others wait");
    }
}

/// How far a connection has come without a hello.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Progress {
    /// It has sent nothing.
    Silent,
    /// It has sent something.
    Speaking,
    /// It is a WebSocket.
    Upgraded,
}

/// Where a connection stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Standing {
    Pending,
    Admitted,
    /// The hub has closed it: what waits for it may still be sent, if that is soon.
    Closing,
    /// It is being dropped, for this reason.
    Ended(&'static str),
}

/// One connection's standing, shared by its socket, the task that drives it and the way out to it.
#[derive(Debug)]
pub(super) struct Admission {
    key: u64,
    /// Until then it is new.
    grace: Instant,
    deadline: Instant,
    standing: watch::Sender<Standing>,
    /// A [`Progress`].
    progress: AtomicU8,
    /// Who reads, if it waits for the hello to be accepted.
    reader: AtomicWaker,
    /// Once it is over.
    over: Mutex<Option<Over>>,
    pending: Arc<Pending>,
}

/// By when a connection that is over is gone, and its place among those that are.
#[derive(Debug)]
struct Over {
    by: Instant,
    _place: OwnedSemaphorePermit,
}

impl Admission {
    /// Its hello was accepted: the deadline is lifted, unless it has passed already.
    pub(super) fn admit(&self) {
        if self.pending.leave(self.key) {
            self.standing.send_replace(Standing::Admitted);
            self.reader.wake();
        }
    }

    fn progress(&self) -> Progress {
        match self.progress.load(Ordering::Relaxed) {
            0 => Progress::Silent,
            1 => Progress::Speaking,
            _ => Progress::Upgraded,
        }
    }

    fn comes_to(&self, progress: Progress) {
        self.progress.fetch_max(progress as u8, Ordering::Relaxed);
    }

    /// It is a WebSocket now.
    pub(super) fn upgraded(&self) {
        self.comes_to(Progress::Upgraded);
    }

    /// Whether its hello is still awaited.
    pub(super) fn is_pending(&self) -> bool {
        *self.standing.borrow() == Standing::Pending
    }

    /// The hub has closed it. It is counted no more there: so it may take little time, and so may few at once.
    pub(super) fn close(&self) {
        if self.over().is_none() {
            return self.end("closed by the hub, as are others");
        }
        self.standing.send_if_modified(|standing| {
            let was_open = *standing == Standing::Admitted;
            if was_open {
                *standing = Standing::Closing;
            }
            was_open
        });
    }

    /// By when it is gone, now that it is over, whoever ended it; `None` if too many are over: then it is dropped at once.
    pub(super) fn over(&self) -> Option<Instant> {
        let mut over = self.over.lock().unwrap_or_else(PoisonError::into_inner);
        if over.is_none() {
            let place = Arc::clone(&self.pending.over).try_acquire_owned().ok()?;
            *over = Some(Over {
                by: Instant::now() + CLOSING,
                _place: place,
            });
        }
        over.as_ref().map(|over| over.by)
    }

    /// It is gone.
    fn gone(&self) {
        *self.over.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// Whether it is being dropped.
    #[cfg(test)]
    pub(super) fn is_ended(&self) -> bool {
        matches!(*self.standing.borrow(), Standing::Ended(_))
    }

    /// How many are over and not gone.
    #[cfg(test)]
    pub(super) fn count_over(&self) -> usize {
        MAX_OVER - self.pending.over.available_permits()
    }

    /// Has the connection dropped, with all that was not sent.
    pub(super) fn end(&self, why: &'static str) {
        self.pending.leave(self.key);
        self.standing.send_replace(Standing::Ended(why));
    }

    /// Counts the connection for the source that a proxy names instead of for the proxy; one of a source that has its share
    /// makes room. `false` if the connection is no longer pending.
    pub(super) fn name_source(&self, address: IpAddr) -> bool {
        let source = source_of(address);
        let mut table = self.pending.lock();
        let Some((counted, _)) = table.connections.get(&self.key) else {
            return false;
        };
        let counted = *counted;
        if counted == source {
            return true;
        }
        let is_full = table.of(source) >= self.pending.limit_of(source);
        let evicted = is_full.then(|| table.remove_first_of(source)).flatten();
        table.forget(counted, self.key);
        table.sources.entry(source).or_default().insert(self.key);
        if let Some((counted, _)) = table.connections.get_mut(&self.key) {
            *counted = source;
        }
        drop(table);
        evict(evicted);
        true
    }

    /// Waits until the connection is to be dropped, and says why: its deadline has passed, or somebody has ended it. One
    /// deadline covers everything, reads and writes alike, so no traffic prolongs it.
    pub(super) async fn ended(&self) -> &'static str {
        let mut standing = self.standing.subscribe();
        // The sender is this value, so waiting ends with the standing and not with an error.
        let ended = async {
            let is_over = |standing: &Standing| matches!(standing, Standing::Closing | Standing::Ended(_));
            let _ = standing.wait_for(is_over).await;
            if *self.standing.borrow() == Standing::Closing {
                let is_ended = |standing: &Standing| matches!(standing, Standing::Ended(_));
                let by = self.over().unwrap_or_else(Instant::now);
                if timeout_at(by, standing.wait_for(is_ended)).await.is_err() {
                    self.standing.send_replace(Standing::Ended("closed by the hub"));
                }
            }
        };
        tokio::pin!(ended);
        tokio::select! {
            () = &mut ended => {}
            () = sleep_until(self.deadline) => {
                if self.pending.leave(self.key) {
                    self.standing.send_replace(Standing::Ended("no hello in time"));
                }
                // Admitted: from now on only somebody else ends it.
                ended.await;
            }
        }
        match *self.standing.borrow() {
            Standing::Ended(why) => why,
            Standing::Pending | Standing::Admitted | Standing::Closing => "closed",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn far() -> Instant {
        Instant::now() + Duration::from_secs(3600)
    }

    /// What the table holds: connections, and what its sources add up to.
    fn held(pending: &Pending) -> (usize, usize) {
        let table = pending.lock();
        (table.connections.len(), table.sources.values().map(BTreeSet::len).sum())
    }

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    const EVICTED: Standing = Standing::Ended("no hello, and others wait");

    #[test]
    fn a_source_has_its_share_and_the_proxy_the_whole_table() {
        let pending = Arc::new(Pending::new(8, 2, u32::MAX));
        let enter = |address: &str| {
            pending.make_room_for(ip(address));
            pending.enter(ip(address), far())
        };
        let shared = [
            ["192.0.2.1", "192.0.2.1", "::ffff:192.0.2.1"],
            ["2001:db8::1", "2001:db8::2", "2001:db8::ffff:ffff:3"],
        ];
        for addresses in shared {
            let [first, second, third] = addresses.map(enter);
            let standing = [first, second, third].map(|one| *one.standing.borrow());
            assert_eq!(
                standing,
                [EVICTED, Standing::Pending, Standing::Pending],
                "{addresses:?}"
            );
        }
        for local in ["127.0.0.1", "127.0.0.1", "127.0.0.1", "::1", "::ffff:127.0.0.1"] {
            enter(local);
        }
        assert!(pending.is_full());
        assert_eq!(held(&pending), (9, 9));
    }

    #[test]
    fn a_source_with_many_yields_to_one_with_few() {
        let pending = Arc::new(Pending::new(4, 4, u32::MAX));
        let honest = pending.enter(ip("198.51.100.1"), far());
        let crowd = [1, 2, 3, 4].map(|_| pending.enter(ip("192.0.2.1"), far()));
        for evicted in &crowd[..2] {
            pending.evict();
            assert_eq!(*evicted.standing.borrow(), EVICTED);
        }
        assert!(honest.is_pending() && crowd[3].is_pending());
        // Of those with as many as users behind one address have, that which has waited longest.
        pending.evict();
        assert!(!honest.is_pending() && crowd[2].is_pending() && crowd[3].is_pending());
    }

    /// Several who are behind one address say hello at once, beside a crowd that holds the whole table with one connection a source.
    #[test]
    fn users_behind_one_address_get_in_beside_a_crowd_of_single_ones() {
        const ROUND_TRIP: Duration = Duration::from_millis(200);
        for (users, per_round_trip) in [(1, 20), (2, 20), (5, 20), (8, 100)] {
            let pending = Arc::new(Pending::new(256, 16, u32::MAX));
            let mut crowd = std::collections::VecDeque::new();
            let mut last = 0_u32;
            let mut comes = |now: Instant, crowd: &mut std::collections::VecDeque<_>| {
                last += 1;
                let address = IpAddr::from(std::net::Ipv4Addr::from_bits(0x0a00_0000 + last));
                if pending.is_full() {
                    pending.evict_at(now);
                }
                let one = pending.enter_at(now, address, far());
                one.comes_to(Progress::Upgraded);
                crowd.push_back(one);
                if crowd.len() > 2_000 {
                    crowd.pop_front();
                }
            };
            let (pace, mut now) = (ROUND_TRIP / per_round_trip, Instant::now());
            for _ in 0..1_000 {
                comes(now, &mut crowd);
                now += pace;
            }
            for _ in 0..20 {
                let honest: Vec<_> = (0..users)
                    .map(|_| {
                        if pending.is_full() {
                            pending.evict_at(now);
                        }
                        let one = pending.enter_at(now, ip("198.51.100.1"), far());
                        one.upgraded();
                        one
                    })
                    .collect();
                for _ in 0..per_round_trip {
                    now += pace;
                    comes(now, &mut crowd);
                }
                assert!(
                    honest.iter().all(|one| one.is_pending()),
                    "{users} beside {per_round_trip}"
                );
                honest.iter().for_each(|one| one.admit());
            }
        }
    }

    #[test]
    fn who_has_come_farther_yields_to_none_that_says_nothing() {
        for progress in [Progress::Speaking, Progress::Upgraded] {
            // A neighbour renews its connections, however often.
            let pending = Arc::new(Pending::new(256, 16, u32::MAX));
            let honest = pending.enter(ip("192.0.2.1"), far());
            honest.comes_to(progress);
            let enter = |address: &str| {
                pending.make_room_for(ip(address));
                if pending.is_full() {
                    pending.evict();
                }
                pending.enter(ip(address), far())
            };
            let crowd: Vec<_> = (0..1_000).map(|_| enter("192.0.2.1")).collect();
            assert!(honest.is_pending() && crowd[999].is_pending() && !crowd[0].is_pending());
            assert_eq!(held(&pending), (16, 16));
            crowd.iter().for_each(|one| one.end("closed"));
            // So does a crowd of many sources with one each.
            for n in 0..1_000 {
                enter(&format!("198.51.{}.{}", n / 250, n % 250));
            }
            assert!(honest.is_pending());
            assert_eq!(held(&pending), (256, 256));
        }
    }

    #[test]
    fn a_newcomer_has_its_grace_beside_those_that_have_come_farther() {
        for progress in [Progress::Silent, Progress::Speaking, Progress::Upgraded] {
            let pending = Arc::new(Pending::new(256, 16, u32::MAX));
            let earlier = Instant::now().checked_sub(GRACE).unwrap();
            let crowd = [(); 16].map(|()| pending.enter_at(earlier, ip("192.0.2.1"), far()));
            crowd.iter().for_each(|one| one.comes_to(progress));
            let enter = || {
                pending.make_room_for(ip("192.0.2.1"));
                pending.enter(ip("192.0.2.1"), far())
            };
            let honest = enter();
            let renewed: Vec<_> = (0..15).map(|_| enter()).collect();
            assert!(honest.is_pending() && renewed[14].is_pending(), "{progress:?}");
            assert!(crowd.iter().all(|one| !one.is_pending()), "{progress:?}");
            // Nobody is older now: who has said nothing and who has each keep their half.
            renewed.iter().for_each(|one| one.comes_to(Progress::Upgraded));
            for _ in 0..7 {
                enter().comes_to(Progress::Upgraded);
                assert!(honest.is_pending(), "{progress:?}");
            }
            let silent: Vec<_> = (0..8).map(|_| enter()).collect();
            assert!(!honest.is_pending() && silent[7].is_pending(), "{progress:?}");
            assert_eq!(held(&pending), (16, 16));
        }
    }

    #[test]
    fn a_crowd_that_upgrades_at_once_leaves_a_newcomer_its_round_trip() {
        let pending = Arc::new(Pending::new(256, 16, u32::MAX));
        let enter = |address: &str| {
            pending.make_room_for(ip(address));
            if pending.is_full() {
                pending.evict();
            }
            pending.enter(ip(address), far())
        };
        // A neighbour, and a crowd of many sources.
        for crowd in [false, true] {
            let address = |n: usize| {
                if crowd {
                    format!("198.51.{}.{}", n / 250, n % 250)
                } else {
                    "192.0.2.1".into()
                }
            };
            for n in 0..1_000 {
                enter(&address(n)).comes_to(Progress::Upgraded);
            }
            let slow = enter("192.0.2.1");
            for n in 1_000..2_000 {
                enter(&address(n)).comes_to(Progress::Upgraded);
            }
            assert!(slow.is_pending(), "nothing has come of it yet");
            slow.end("closed");
            let honest = enter("192.0.2.1");
            for n in 2_000..2_007 {
                enter(&address(n)).comes_to(Progress::Upgraded);
            }
            honest.comes_to(Progress::Upgraded);
            for n in 2_007..2_014 {
                enter(&address(n)).comes_to(Progress::Upgraded);
            }
            assert!(honest.is_pending(), "it says hello now");
        }
    }

    #[test]
    fn only_one_that_is_pending_makes_room() {
        let pending = Arc::new(Pending::new(3, 3, u32::MAX));
        let [first, second, third] = [1, 2, 3].map(|_| pending.enter(ip("192.0.2.1"), far()));
        assert!(pending.is_full());
        first.admit();
        assert!(!first.is_pending() && !pending.is_full());
        pending.evict();
        assert_eq!(
            [&first, &second, &third].map(|one| *one.standing.borrow()),
            [Standing::Admitted, EVICTED, Standing::Pending]
        );
        second.admit();
        assert!(matches!(*second.standing.borrow(), Standing::Ended(_)), "too late");
        third.end("slow reader");
        pending.evict();
        assert_eq!(
            held(&pending),
            (0, 0),
            "nothing is left, whatever came in whichever order"
        );
    }

    #[test]
    fn a_named_source_is_counted_instead_of_the_proxy() {
        let pending = Arc::new(Pending::new(10, 1, u32::MAX));
        let [first, second] = [1, 2].map(|_| pending.enter(ip("127.0.0.1"), far()));
        assert!(first.name_source(ip("192.0.2.1")) && first.name_source(ip("192.0.2.1")));
        assert!(second.name_source(ip("192.0.2.1")), "the newer has its one place");
        assert_eq!(*first.standing.borrow(), EVICTED);
        assert!(!first.name_source(ip("192.0.2.2")), "it is over");
        assert!(second.name_source(ip("127.0.0.1")), "or nobody in particular");
        second.admit();
        assert!(!second.name_source(ip("192.0.2.3")), "its hello is said");
        assert_eq!(held(&pending), (0, 0));
    }

    #[tokio::test]
    async fn the_deadline_ends_what_is_pending_and_nothing_else() {
        let pending = Arc::new(Pending::new(10, 10, u32::MAX));
        let soon = || Instant::now() + Duration::from_millis(20);
        let late = pending.enter(ip("192.0.2.1"), soon());
        assert_eq!(late.ended().await, "no hello in time");
        assert_eq!(late.ended().await, "no hello in time", "whoever asks");
        let user = pending.enter(ip("192.0.2.1"), soon());
        user.admit();
        let mut watcher = tokio::spawn({
            let user = Arc::clone(&user);
            async move { user.ended().await }
        });
        let still = tokio::time::timeout(Duration::from_millis(100), &mut watcher).await;
        assert!(still.is_err(), "{still:?}");
        user.end("slow reader");
        assert_eq!(watcher.await.unwrap(), "slow reader");
        assert_eq!(held(&pending), (0, 0));
    }
}
