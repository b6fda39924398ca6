//! The fields that occurred recently: a small filter in front of the dynamic table.

/// Remembers the hashes of recent fields in a fixed number of places.
///
/// Two fields in the same place displace each other; that costs a later insertion, and never gives a wrong one.
#[derive(Debug, Default)]
pub(super) struct History {
    /// Empty until first used: most connections of clients without a dynamic table never need it.
    places: Vec<u64>,
}

const PLACES: usize = 256;

impl History {
    /// Whether the field occurred before. Such a field must then occur twice again.
    pub(super) fn meet_again(&mut self, hash: u64) -> bool {
        if self.places.is_empty() {
            self.places.resize(PLACES, 0);
        }
        let place = &mut self.places[hash as usize % PLACES];
        let met = *place == hash;
        *place = if met { 0 } else { hash };
        met
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_second_meeting_counts_and_starts_over() {
        let mut history = History::default();
        assert!(!history.meet_again(5));
        assert!(!history.meet_again(6));
        assert!(history.meet_again(5));
        assert!(!history.meet_again(5));
        assert!(history.meet_again(6));
    }

    #[test]
    fn a_rival_pushes_out() {
        let mut history = History::default();
        assert!(!history.meet_again(5));
        assert!(!history.meet_again(5 + PLACES as u64));
        assert!(!history.meet_again(5));
    }
}
