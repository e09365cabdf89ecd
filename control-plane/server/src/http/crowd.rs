//! How many connections there may be at once, in all and from one address. Where there is no room, one that asks
//! nothing makes room for one that may.

use std::cmp::Reverse;
use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio_util::sync::CancellationToken;

/// Counts who is in.
#[derive(Clone)]
pub(crate) struct Crowd {
    most: usize,
    most_per_address: usize,
    inside: Arc<Mutex<Inside>>,
}

#[derive(Default)]
struct Inside {
    last: u64,
    guests: HashMap<u64, Guest>,
    by_address: HashMap<IpAddr, usize>,
}

struct Guest {
    address: IpAddr,
    /// Whether a request of it is being answered.
    busy: bool,
    out: CancellationToken,
}

/// A place in the crowd; free again when dropped.
pub(crate) struct Place {
    number: u64,
    address: IpAddr,
    out: CancellationToken,
    inside: Arc<Mutex<Inside>>,
}

/// Keeps a guest from being put out while a request of it is answered.
pub(crate) struct Busy {
    number: u64,
    inside: Arc<Mutex<Inside>>,
}

impl Crowd {
    pub(crate) fn new(most: usize, most_per_address: usize) -> Self {
        Self { most, most_per_address, inside: Arc::default() }
    }

    /// A place, if there is or can be made one for this address.
    pub(crate) fn enter(&self, address: IpAddr) -> Option<Place> {
        let mut inside = lock(&self.inside);
        if inside.by_address.get(&address).is_some_and(|count| *count >= self.most_per_address) {
            return None;
        }
        if inside.guests.len() >= self.most {
            let idle = inside.idle_in_the_largest_crowd()?;
            inside.leave(idle);
        }
        inside.last += 1;
        let (number, out) = (inside.last, CancellationToken::new());
        inside.guests.insert(number, Guest { address, busy: false, out: out.clone() });
        *inside.by_address.entry(address).or_default() += 1;
        Some(Place { number, address, out, inside: self.inside.clone() })
    }
}

impl Inside {
    /// Of those that ask nothing, the oldest of the address that has most connections.
    fn idle_in_the_largest_crowd(&self) -> Option<u64> {
        let crowd = |guest: &Guest| self.by_address.get(&guest.address).copied().unwrap_or_default();
        let idle = self.guests.iter().filter(|(_, guest)| !guest.busy);
        idle.max_by_key(|(number, guest)| (crowd(guest), Reverse(**number))).map(|(number, _)| *number)
    }

    fn leave(&mut self, number: u64) {
        let Some(guest) = self.guests.remove(&number) else { return };
        guest.out.cancel();
        match self.by_address.get_mut(&guest.address) {
            Some(count) if *count > 1 => *count -= 1,
            _ => drop(self.by_address.remove(&guest.address)),
        }
    }

    fn set_busy(&mut self, number: u64, busy: bool) {
        if let Some(guest) = self.guests.get_mut(&number) {
            guest.busy = busy;
        }
    }
}

impl Place {
    pub(crate) const fn address(&self) -> IpAddr {
        self.address
    }

    /// Cancelled when the guest must make room.
    pub(crate) const fn out(&self) -> &CancellationToken {
        &self.out
    }

    /// How a request of this guest says that it is one.
    pub(crate) fn busy(&self) -> impl Fn() -> Busy + Clone + Send + 'static {
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

fn lock(inside: &Mutex<Inside>) -> MutexGuard<'_, Inside> {
    inside.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(last: u8) -> IpAddr {
        IpAddr::from([127, 0, 0, last])
    }

    #[test]
    fn one_address_has_so_many_places_and_they_come_back() {
        let crowd = Crowd::new(10, 2);
        let (first, _second) = (crowd.enter(address(1)).unwrap(), crowd.enter(address(1)).unwrap());
        assert!(crowd.enter(address(1)).is_none());
        assert!(crowd.enter(address(2)).is_some());
        drop(first);
        assert!(crowd.enter(address(1)).is_some());
        assert_eq!(lock(&crowd.inside).by_address.len(), 1);
    }

    #[test]
    fn in_a_full_house_the_largest_crowd_makes_room_unless_it_is_being_answered() {
        let crowd = Crowd::new(3, 2);
        let alone = crowd.enter(address(1)).unwrap();
        let (oldest, newest) = (crowd.enter(address(2)).unwrap(), crowd.enter(address(2)).unwrap());
        let asking = oldest.busy()();
        let late = crowd.enter(address(3)).unwrap();
        let out = |place: &Place| place.out().is_cancelled();
        assert!(out(&newest) && !out(&oldest) && !out(&alone));
        let _all_asking = (alone.busy()(), late.busy()());
        assert!(crowd.enter(address(4)).is_none());
        drop(asking);
        assert!(crowd.enter(address(4)).is_some());
        assert!(out(&oldest));
    }
}
