//! How many connections there may be at once, in all and from one address.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};

/// Counts who is in.
#[derive(Clone)]
pub(crate) struct Crowd {
    most: usize,
    most_per_address: usize,
    inside: Arc<Mutex<Inside>>,
}

#[derive(Default)]
struct Inside {
    all: usize,
    by_address: HashMap<IpAddr, usize>,
}

/// A place in the crowd; free again when dropped.
pub(crate) struct Place {
    address: IpAddr,
    inside: Arc<Mutex<Inside>>,
}

impl Crowd {
    pub(crate) fn new(most: usize, most_per_address: usize) -> Self {
        Self { most, most_per_address, inside: Arc::default() }
    }

    /// A place, if there is one for this address.
    pub(crate) fn enter(&self, address: IpAddr) -> Option<Place> {
        let mut inside = self.inside.lock().unwrap_or_else(PoisonError::into_inner);
        let of_address = inside.by_address.get(&address).copied().unwrap_or_default();
        if inside.all >= self.most || of_address >= self.most_per_address {
            return None;
        }
        inside.all += 1;
        inside.by_address.insert(address, of_address + 1);
        Some(Place { address, inside: self.inside.clone() })
    }
}

impl Place {
    pub(crate) const fn address(&self) -> IpAddr {
        self.address
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut inside = self.inside.lock().unwrap_or_else(PoisonError::into_inner);
        inside.all -= 1;
        match inside.by_address.get_mut(&self.address) {
            Some(count) if *count > 1 => *count -= 1,
            _ => drop(inside.by_address.remove(&self.address)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_address_cannot_take_the_places_of_others_and_places_come_back() {
        let (crowd, a, b) = (Crowd::new(3, 2), IpAddr::from([127, 0, 0, 1]), IpAddr::from([127, 0, 0, 2]));
        let (first, _second) = (crowd.enter(a).unwrap(), crowd.enter(a).unwrap());
        assert!(crowd.enter(a).is_none());
        let other = crowd.enter(b).unwrap();
        assert!(crowd.enter(b).is_none(), "there are three places in all");
        drop(first);
        assert!(crowd.enter(a).is_some());
        drop(other);
        assert_eq!(crowd.inside.lock().unwrap().by_address.len(), 1);
    }
}
