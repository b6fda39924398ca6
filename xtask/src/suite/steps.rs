//! The duration of each step of a run, for the table at its end.

use std::fmt;
use std::time::{Duration, Instant};

/// The shortest step that gets a line.
const SHORT: Duration = Duration::from_secs(5);

/// Steps in their order.
#[derive(Debug, Default)]
pub struct Steps(Vec<(String, Duration)>);

impl Steps {
    /// Runs a step, and records its duration.
    pub fn time<T>(&mut self, name: &str, step: impl FnOnce() -> T) -> T {
        let started = Instant::now();
        let done = step();
        self.0.push((name.to_owned(), started.elapsed()));
        done
    }
}

impl fmt::Display for Steps {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (name, took) in self.0.iter().filter(|(_, took)| *took >= SHORT) {
            writeln!(f, "{:>6} s  {name}", took.as_secs())?;
        }
        let all: Duration = self.0.iter().map(|(_, took)| *took).sum();
        writeln!(f, "{:>6} s  all of it", all.as_secs())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_steps_count_and_have_no_line() {
        let steps = Steps(vec![
            ("guests".to_owned(), Duration::from_secs(70)),
            ("formatting".to_owned(), Duration::from_secs(4)),
        ]);
        assert_eq!(steps.to_string(), "    70 s  guests\n    74 s  all of it\n");
    }
}
