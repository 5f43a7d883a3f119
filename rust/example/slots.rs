// SPDX-License-Identifier: GPL-2.0

//! A small table of objects by handle.

use kernel::{
    new_spinlock,
    prelude::*,
    sync::{
        Arc,
        SpinLock, //
    }, //
};

use crate::{
    logic::{
        hwid::{
            Hwid,
            Slot, //
        },
        reason::Refusal, //
    },
    net::context::BhGuard, //
};

/// A place in the table, and what is in it.
type Place<T> = (Slot, Option<(Hwid, Arc<T>)>);

/// A table of `N`. Its lock is a leaf. All methods in any context.
#[pin_data]
pub(super) struct Slots<T: Send + Sync, const N: usize> {
    #[pin]
    places: SpinLock<[Place<T>; N]>,
}

impl<T: Send + Sync, const N: usize> Slots<T, N> {
    pub(super) fn new() -> impl PinInit<Self> {
        pin_init!(Slots {
            places <- new_spinlock!([const { (Slot::new(), None) }; N]),
        })
    }

    fn with<R>(&self, f: impl FnOnce(&mut [Place<T>; N]) -> R) -> R {
        let _bh = BhGuard::new();
        let mut places = self.places.lock();
        let result = f(&mut places);
        drop(places);
        result
    }

    /// Puts in what `make` makes for its name.
    pub(super) fn insert(
        &self,
        make: impl FnOnce(Hwid) -> Result<Arc<T>>,
    ) -> Result<Hwid, Refusal> {
        self.with(|places| {
            let mut all = (0..).zip(places);
            let free = all.find_map(|(index, (slot, object))| {
                Some((slot.acquire(index).ok()?, slot, object))
            });
            let (hwid, slot, object) = free.ok_or(Refusal::TableFull)?;
            match make(hwid) {
                Ok(made) => *object = Some((hwid, made)),
                Err(_) => {
                    let _ = slot.release(hwid);
                    return Err(Refusal::NoMemory);
                }
            }
            Ok(hwid)
        })
    }

    /// The object with this name.
    pub(super) fn get(&self, hwid: Hwid) -> Option<Arc<T>> {
        self.at(hwid.index())
            .filter(|found| found.0 == hwid)
            .map(|found| found.1)
    }

    /// The object at a place, with its name.
    fn at(&self, index: u32) -> Option<(Hwid, Arc<T>)> {
        self.with(|places| places.get(index as usize)?.1.clone())
    }

    /// The first that `same` accepts, which locks nothing.
    pub(super) fn find(&self, same: impl Fn(&T) -> bool) -> Option<Arc<T>> {
        self.with(|places| {
            let mut all = places.iter().filter_map(|(_, object)| object.as_ref());
            all.find(|(_, object)| same(object))
                .map(|(_, object)| object.clone())
        })
    }

    /// Takes the object out.
    pub(super) fn remove(&self, hwid: Hwid) -> Option<Arc<T>> {
        self.with(|places| {
            let (slot, object) = places.get_mut(hwid.index() as usize)?;
            slot.release(hwid).ok()?;
            object.take().map(|(_, object)| object)
        })
    }

    /// How many there are.
    pub(super) fn len(&self) -> u32 {
        self.with(|places| places.iter().filter(|(_, object)| object.is_some()).count() as u32)
    }

    /// Calls `f` for each, without the lock.
    pub(super) fn for_each(&self, f: &mut dyn FnMut(Hwid, &T)) {
        for index in 0..N as u32 {
            if let Some((hwid, object)) = self.at(index) {
                f(hwid, &object);
            }
        }
    }
}
