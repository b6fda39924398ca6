//! The passed, failed and skipped tests, read from the lines of the standard test harness.

use std::collections::BTreeMap;
use std::fmt;

/// Marks the line of a test that lacks a tool.
const SKIPPED: &str = "SKIPPED";

/// The most lines of a failed test's output that are repeated at the end.
const SAID: usize = 30;

/// Counts, and the names behind them.
#[derive(Debug, Default)]
pub struct Tally {
    passed: u64,
    failed: Vec<String>,
    /// Tests that failed among the others, and passed alone.
    flaky: Vec<String>,
    /// The output of failed tests, by name.
    said: BTreeMap<String, Vec<String>>,
    /// The failed test whose output comes now.
    speaker: Option<String>,
    skipped: Vec<String>,
    /// Tests marked `#[ignore]`, which their author skips; excused everywhere.
    ignored: u64,
    /// Inside the part of the output that repeats the output of passed tests.
    in_successes: bool,
}

impl Tally {
    /// Counts a check that passed.
    pub fn pass(&mut self) {
        self.passed += 1;
    }

    /// Counts a check that failed.
    pub fn fail(&mut self, name: &str) {
        self.failed.push(name.to_owned());
    }

    /// The number of failures so far.
    pub fn failures(&self) -> usize {
        self.failed.len()
    }

    /// Takes a line of a test harness, and returns whether to show it: the output of passed tests is not shown.
    pub fn line(&mut self, text: &str) -> bool {
        let text = text.trim_end();
        let skip = text.find(SKIPPED).map(|at| &text[at..]);
        if let Some(skip) = skip
            && !self.skipped.iter().any(|known| known == skip)
        {
            self.skipped.push(skip.to_owned());
        }
        if let Some(counts) = text.strip_prefix("test result: ") {
            self.in_successes = false;
            self.passed += count(counts, "passed");
            self.ignored += count(counts, "ignored");
            return true;
        }
        match text {
            "successes:" => self.in_successes = true,
            "failures:" => (self.in_successes, self.speaker) = (false, None),
            _ => {}
        }
        if let Some(name) = text.strip_prefix("---- ").and_then(|rest| rest.strip_suffix(" stdout ----")) {
            self.speaker = (!self.in_successes).then(|| name.to_owned());
        } else if let Some(name) = &self.speaker {
            let said = self.said.entry(name.clone()).or_default();
            if said.len() < SAID && !text.is_empty() {
                said.push(text.to_owned());
            }
        }
        if let Some(name) = text.strip_prefix("test ").and_then(|rest| rest.strip_suffix(" ... FAILED")) {
            self.failed.push(name.to_owned());
        }
        !self.in_successes || skip.is_some()
    }

    /// The tests that failed since there were this many failures.
    pub fn failed_since(&self, before: usize) -> &[String] {
        &self.failed[before..]
    }

    /// Removes the failure of a test that has passed alone. It stays in the summary.
    pub fn passed_alone(&mut self, name: &str) {
        if let Some(at) = self.failed.iter().position(|failed| failed == name) {
            self.flaky.push(self.failed.remove(at));
            self.passed += 1;
        }
    }

    /// Whether exactly these tests have passed, and nothing else happened.
    pub fn is_all_of(&self, count: usize) -> bool {
        self.failed.is_empty() && self.passed >= count as u64
    }

    /// Turns every skip that is not excused into a failure.
    pub fn refuse_skips(&mut self, allowed: &[String]) {
        let excused = |skip: &String| allowed.iter().any(|part| skip.contains(part.as_str()));
        let (excused, refused): (Vec<_>, Vec<_>) = self.skipped.drain(..).partition(excused);
        self.passed = self.passed.saturating_sub(refused.len() as u64);
        self.failed.extend(refused);
        self.skipped = excused;
    }

    /// Whether nothing failed, and at least one test ran.
    pub fn is_clean(&self) -> bool {
        self.failed.is_empty() && self.passed > 0
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        for skip in &self.skipped {
            writeln!(out, "{skip}")?;
        }
        for (mark, names) in [("FLAKY", &self.flaky), ("FAILED", &self.failed)] {
            for name in names {
                writeln!(out, "{mark} {name}")?;
                for line in self.said.get(name).into_iter().flatten() {
                    writeln!(out, "    {line}")?;
                }
            }
        }
        // A skipped test reported to the harness that it passed.
        let skipped = self.skipped.len() as u64;
        let (passed, failed) = (self.passed.saturating_sub(skipped), self.failed.len());
        writeln!(out, "{passed} passed, {failed} failed, {} skipped", skipped + self.ignored)
    }
}

/// The number before a word in `ok. 5 passed; 0 failed; 1 ignored; ...`.
fn count(counts: &str, word: &str) -> u64 {
    let words: Vec<_> = counts.split([' ', ';']).filter(|part| !part.is_empty()).collect();
    let pair = words.windows(2).find(|pair| pair[1] == word);
    pair.and_then(|pair| pair[0].parse().ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    const OUTPUT: &str = "
running 4 tests
test one ... ok
test two ... FAILED
test three ... ok
test four ... ignored

successes:

---- one stdout ----
something to read
---- three stdout ----
SKIPPED three: wrk is not installed

successes:
    one
    three

failures:

---- two stdout ----
assertion failed

failures:
    two

test result: FAILED. 2 passed; 1 failed; 1 ignored; 0 measured; 3 filtered out; finished in 0.00s
";

    fn read(text: &str) -> (Tally, String) {
        let mut tally = Tally::default();
        let mut shown = String::new();
        for line in text.lines() {
            if tally.line(line) {
                shown.push_str(line);
                shown.push('\n');
            }
        }
        (tally, shown)
    }

    #[test]
    fn a_run_is_counted() {
        let (tally, _) = read(OUTPUT);
        let expected =
            "SKIPPED three: wrk is not installed\nFAILED two\n    assertion failed\n1 passed, 1 failed, 2 skipped\n";
        assert_eq!(tally.to_string(), expected);
        assert!(!tally.is_clean());
    }

    #[test]
    fn a_test_that_passes_alone_is_flaky() {
        let (mut tally, _) = read(OUTPUT);
        assert_eq!(tally.failed_since(0), ["two"]);
        tally.passed_alone("two");
        let expected =
            "SKIPPED three: wrk is not installed\nFLAKY two\n    assertion failed\n2 passed, 0 failed, 2 skipped\n";
        assert_eq!(tally.to_string(), expected);
        assert!(tally.is_clean());
    }

    #[test]
    fn what_passed_tests_print_is_not_shown_but_for_skips() {
        let (_, shown) = read(OUTPUT);
        assert!(!shown.contains("something to read"));
        assert!(shown.contains("SKIPPED three"));
        assert!(shown.contains("assertion failed"));
        assert!(shown.contains("test one ... ok"));
    }

    #[test]
    fn a_skip_that_is_not_excused_becomes_a_failure() {
        let text = "SKIPPED a: no wrk\nSKIPPED b: no kernel support\ntest result: ok. 3 passed; 0 failed; 0 ignored";
        let (mut tally, _) = read(text);
        assert!(tally.is_clean());
        tally.refuse_skips(&["no kernel support".to_owned()]);
        assert!(!tally.is_clean());
        let expected = "SKIPPED b: no kernel support\nFAILED SKIPPED a: no wrk\n1 passed, 1 failed, 1 skipped\n";
        assert_eq!(tally.to_string(), expected);
    }

    #[test]
    fn a_skip_is_found_behind_the_name_of_its_test() {
        let (tally, _) = read("test a ... SKIPPED a: no curl\nok\ntest result: ok. 1 passed; 0 failed; 0 ignored");
        assert_eq!(tally.to_string(), "SKIPPED a: no curl\n0 passed, 0 failed, 1 skipped\n");
    }

    #[test]
    fn no_test_at_all_is_not_clean() {
        assert!(!Tally::default().is_clean());
    }
}
