//! Medians, and intervals by the bootstrap: how far a result would move if other turns of the same kind had come.

/// Resamples of an interval.
const RESAMPLES: usize = 2000;

/// The part of resamples that lies within an interval.
const CONFIDENCE: f64 = 0.95;

/// The middle, or the mean of the two in the middle.
pub fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    match values.len() {
        0 => f64::NAN,
        n if n % 2 == 1 => values[n / 2],
        n => (values[n / 2 - 1] + values[n / 2]) / 2.0,
    }
}

/// The interval that has the median with a confidence of 95 %, by the percentile bootstrap. The same values have the
/// same interval: the random numbers start from the same seed.
pub fn interval(values: &[f64]) -> [f64; 2] {
    if values.is_empty() {
        return [f64::NAN; 2];
    }
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    let mut medians: Vec<f64> = (0..RESAMPLES)
        .map(|_| median((0..values.len()).map(|_| values[random.below(values.len())]).collect()))
        .collect();
    medians.sort_by(f64::total_cmp);
    let cut = ((1.0 - CONFIDENCE) / 2.0 * RESAMPLES as f64) as usize;
    [medians[cut], medians[RESAMPLES - 1 - cut]]
}

/// Xorshift: enough to choose turns with.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        // The bias is one of 2^64 parts.
        (self.0 % bound as u64) as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_the_middle() {
        assert_eq!(median(vec![3.0, 1.0, 2.0]), 2.0);
        assert_eq!(median(vec![4.0, 1.0, 2.0, 3.0]), 2.5);
        assert!(median(Vec::new()).is_nan());
    }

    #[test]
    fn an_interval_has_the_median_and_narrows_with_more_values() {
        let values = |count: usize| (0..count).map(|index| 100.0 + (index * 7 % 11) as f64).collect::<Vec<_>>();
        let width = |values: &[f64]| {
            let [low, high] = interval(values);
            let middle = median(values.to_vec());
            assert!(low <= middle && middle <= high, "{low} {middle} {high}");
            high - low
        };
        assert!(width(&values(110)) < width(&values(11)));
        assert_eq!(interval(&[5.0; 9]), [5.0, 5.0]);
        assert!(interval(&[])[0].is_nan());
    }

    #[test]
    fn intervals_hold_the_true_median_about_as_often_as_they_say() {
        let mut random = Random(42);
        let held = (0..400)
            .filter(|_| {
                // The median of a uniform choice of 0 to 1000 is 500.
                let values: Vec<f64> = (0..21).map(|_| random.below(1001) as f64).collect();
                let [low, high] = interval(&values);
                low <= 500.0 && 500.0 <= high
            })
            .count();
        assert!((350..=400).contains(&held), "{held} of 400");
    }
}
