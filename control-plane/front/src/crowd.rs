//! A crowd: the guests that are inside at once, counted by address. In a full house the address with the most
//! guests makes room, so a guest who comes alone is let in before the next of many.

use crate::lock;
use std::cmp::Reverse;
use std::collections::{BTreeSet, HashMap};
use std::net::IpAddr;
use std::sync::{Arc, Mutex};
use tokio_util::sync::CancellationToken;

/// How many guests may be inside.
#[derive(Debug, Clone, Copy)]
pub struct CrowdLimits {
    /// Guests in all.
    pub most: usize,
    /// Guests of one address.
    pub per_address: usize,
}

/// Counts the guests that are inside. Cheap to clone; all clones count together.
#[derive(Clone)]
pub struct Crowd {
    limits: CrowdLimits,
    inside: Arc<Mutex<Inside>>,
}

/// Guests are numbered as they come, so the smallest number is the oldest guest.
#[derive(Default)]
struct Inside {
    last: u64,
    guests: HashMap<u64, Guest>,
    addresses: HashMap<IpAddr, Members>,
}

struct Guest {
    address: IpAddr,
    out: CancellationToken,
    /// Requests that are being answered.
    answers: u32,
}

/// The guests of one address.
#[derive(Default)]
struct Members {
    count: usize,
    /// The numbers of the guests that may be put out.
    idle: BTreeSet<u64>,
}

/// A place inside; free again when dropped.
pub struct Place {
    number: u64,
    address: IpAddr,
    out: CancellationToken,
    inside: Arc<Mutex<Inside>>,
}

/// Keeps a guest from being put out for as long as the value lives.
pub struct Busy {
    number: u64,
    inside: Arc<Mutex<Inside>>,
}

impl Crowd {
    /// A crowd with nobody inside.
    pub fn new(limits: CrowdLimits) -> Self {
        Self { limits, inside: Arc::default() }
    }

    /// Lets in one more guest of this address. At the bound of the address its own oldest idle guest is put
    /// out; in a full house, the oldest idle guest of the address that has the most guests. `None` where all
    /// these guests are busy.
    pub fn enter(&self, address: IpAddr) -> Option<Place> {
        let mut inside = lock(&self.inside);
        if inside.members(address) >= self.limits.per_address {
            let own = inside.addresses.get(&address).and_then(|members| members.idle.first().copied())?;
            inside.leave(own);
        } else if inside.guests.len() >= self.limits.most {
            let idle = inside.idle_of_the_largest_crowd()?;
            inside.leave(idle);
        }
        inside.last += 1;
        let (number, out) = (inside.last, CancellationToken::new());
        inside.guests.insert(number, Guest { address, out: out.clone(), answers: 0 });
        let members = inside.addresses.entry(address).or_default();
        members.count += 1;
        members.idle.insert(number);
        Some(Place { number, address, out, inside: self.inside.clone() })
    }
}

impl Inside {
    fn members(&self, address: IpAddr) -> usize {
        self.addresses.get(&address).map_or(0, |members| members.count)
    }

    fn idle_of_the_largest_crowd(&self) -> Option<u64> {
        let crowds = self.addresses.values().filter_map(|members| Some((members, *members.idle.first()?)));
        crowds.max_by_key(|(members, oldest)| (members.count, Reverse(*oldest))).map(|(_, oldest)| oldest)
    }

    fn leave(&mut self, number: u64) {
        let Some(guest) = self.guests.remove(&number) else { return };
        guest.out.cancel();
        if let Some(members) = self.addresses.get_mut(&guest.address) {
            members.count -= 1;
            members.idle.remove(&number);
            if members.count == 0 {
                self.addresses.remove(&guest.address);
            }
        }
    }

    /// One request more of this guest is being answered, or one less.
    fn set_busy(&mut self, number: u64, busy: bool) {
        let Some(guest) = self.guests.get_mut(&number) else { return };
        guest.answers = if busy { guest.answers + 1 } else { guest.answers.saturating_sub(1) };
        if let Some(members) = self.addresses.get_mut(&guest.address) {
            if guest.answers > 0 {
                members.idle.remove(&number)
            } else {
                members.idle.insert(number)
            };
        }
    }
}

impl Place {
    /// The address of the guest.
    pub const fn address(&self) -> IpAddr {
        self.address
    }

    /// The token that is cancelled when the guest must make room.
    pub const fn out(&self) -> &CancellationToken {
        &self.out
    }

    /// Makes the function by which a request of this guest says that it is being answered.
    pub fn busy(&self) -> impl Fn() -> Busy + Clone + Send + 'static {
        let (number, inside) = (self.number, self.inside.clone());
        move || {
            lock(&inside).set_busy(number, true);
            Busy { number, inside: inside.clone() }
        }
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        lock(&self.inside).set_busy(self.number, false);
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        lock(&self.inside).leave(self.number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(last: u8) -> IpAddr {
        IpAddr::from([127, 0, 0, last])
    }

    fn crowd(most: usize, per_address: usize) -> Crowd {
        Crowd::new(CrowdLimits { most, per_address })
    }

    fn is_out(place: &Place) -> bool {
        place.out().is_cancelled()
    }

    #[test]
    fn an_address_beyond_its_places_puts_out_its_own_oldest_and_nobody_else() {
        let crowd = crowd(10, 2);
        let neighbour = crowd.enter(address(9)).unwrap();
        let own: Vec<_> = (0..3).map(|_| crowd.enter(address(1)).unwrap()).collect();
        assert_eq!(own.iter().map(is_out).collect::<Vec<_>>(), [true, false, false]);
        assert!(!is_out(&neighbour));
    }

    #[test]
    fn who_is_being_answered_is_never_put_out() {
        let crowd = crowd(10, 2);
        let (first, second) = (crowd.enter(address(1)).unwrap(), crowd.enter(address(1)).unwrap());
        let (asking, _also) = (first.busy()(), second.busy()());
        assert!(crowd.enter(address(1)).is_none());
        drop(asking);
        assert!(crowd.enter(address(1)).is_some());
        assert!(is_out(&first) && !is_out(&second));
    }

    #[test]
    fn in_a_full_house_the_largest_crowd_makes_room_for_who_comes_alone() {
        let crowd = crowd(3, 2);
        let alone = crowd.enter(address(1)).unwrap();
        let (oldest, newest) = (crowd.enter(address(2)).unwrap(), crowd.enter(address(2)).unwrap());
        let asking = oldest.busy()();
        let late = crowd.enter(address(3)).unwrap();
        assert!(is_out(&newest) && !is_out(&oldest) && !is_out(&alone));
        let _all_asking = (alone.busy()(), late.busy()());
        assert!(crowd.enter(address(4)).is_none());
        drop(asking);
        assert!(crowd.enter(address(4)).is_some());
        assert!(is_out(&oldest));
    }

    #[test]
    fn a_crowd_of_many_addresses_puts_out_the_oldest_of_all() {
        let crowd = crowd(3, 2);
        let guests: Vec<_> = (1..=4).map(|last| crowd.enter(address(last)).unwrap()).collect();
        assert_eq!(guests.iter().map(is_out).collect::<Vec<_>>(), [true, false, false, false]);
    }

    #[test]
    fn nothing_is_remembered_of_those_who_left() {
        let crowd = crowd(200, 2);
        for last in 0..100 {
            drop(crowd.enter(address(last)));
        }
        let inside = lock(&crowd.inside);
        assert!(inside.guests.is_empty() && inside.addresses.is_empty());
    }

    #[test]
    fn a_guest_is_busy_until_the_last_of_its_answers_has_ended() {
        let crowd = Crowd::new(CrowdLimits { most: 1, per_address: 1 });
        let here = IpAddr::from([10, 0, 0, 1]);
        let guest = crowd.enter(here).unwrap();
        let busy = guest.busy();
        let (first, second) = (busy(), busy());
        drop(first);
        assert!(crowd.enter(here).is_none(), "a guest is put out while it is answered");
        drop(second);
        assert!(crowd.enter(here).is_some());
        assert!(guest.out().is_cancelled());
    }
}
