//! A list with a fixed capacity and no way to panic.
//!
//! Invariant: `len <= N`, and only the first `len` items are ever shown. The type is `Copy`-only,
//! so that unused places can hold a default and no destructor has to be thought of.

use core::fmt;
use core::ops::{Deref, DerefMut};

/// Tells that a list or set has no place left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Full;

/// Up to `N` items of `T`, stored in place.
#[derive(Clone, Copy)]
pub struct ArrayVec<T, const N: usize> {
    items: [T; N],
    len: usize,
}

impl<T: Copy + Default, const N: usize> ArrayVec<T, N> {
    /// Makes an empty list.
    pub fn new() -> Self {
        Self { items: [T::default(); N], len: 0 }
    }

    /// Appends `item`, or changes nothing and says that the list is full.
    pub fn push(&mut self, item: T) -> Result<(), Full> {
        let place = self.items.get_mut(self.len).ok_or(Full)?;
        *place = item;
        self.len = self.len.wrapping_add(1);
        Ok(())
    }

    /// Takes the last item off the list.
    pub fn pop(&mut self) -> Option<T> {
        let last = self.len.checked_sub(1)?;
        self.len = last;
        self.items.get(last).copied()
    }
}

impl<T, const N: usize> Deref for ArrayVec<T, N> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        self.items.get(..self.len).unwrap_or(&[])
    }
}

impl<T, const N: usize> DerefMut for ArrayVec<T, N> {
    fn deref_mut(&mut self) -> &mut [T] {
        self.items.get_mut(..self.len).unwrap_or(&mut [])
    }
}

impl<T: Copy + Default, const N: usize> Default for ArrayVec<T, N> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T: fmt::Debug, const N: usize> fmt::Debug for ArrayVec<T, N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

impl<T: PartialEq, const N: usize> PartialEq for ArrayVec<T, N> {
    fn eq(&self, other: &Self) -> bool {
        **self == **other
    }
}

impl<T: Eq, const N: usize> Eq for ArrayVec<T, N> {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn push_stops_at_the_capacity_and_pop_at_zero() {
        let mut list = ArrayVec::<u8, 2>::new();
        assert_eq!(list.pop(), None);
        assert_eq!(list.push(1), Ok(()));
        assert_eq!(list.push(2), Ok(()));
        assert_eq!(list.push(3), Err(Full));
        assert_eq!(&*list, &[1, 2]);
        assert_eq!(list.pop(), Some(2));
        assert_eq!(&*list, &[1]);
    }

    #[test]
    fn equality_ignores_what_was_popped() {
        let mut left = ArrayVec::<u8, 2>::new();
        left.push(7).unwrap();
        left.pop();
        assert_eq!(left, ArrayVec::new());
    }
}
