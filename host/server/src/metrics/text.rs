//! The text format of Prometheus.

use std::fmt::{Display, Write as _};

use crate::access::Caller;

/// Counters and gauges that can be shown.
pub(crate) trait Shows {
    /// Writes the families with the samples that the caller may see.
    fn show(&self, caller: &Caller, text: &mut Text);
}

/// The families of one scrape.
#[derive(Default)]
pub(crate) struct Text {
    families: Vec<(&'static str, String)>,
}

impl Text {
    /// Begins a family, which the next samples belong to.
    pub(crate) fn family(&mut self, name: &'static str, kind: &str, help: &str) {
        self.families.push((name, format!("# HELP {name} {help}\n# TYPE {name} {kind}\n")));
    }

    /// Writes a sample of the family that was begun last.
    pub(crate) fn sample(&mut self, labels: &[(&str, &str)], value: impl Display) {
        self.part("", labels, value);
    }

    /// Writes a sample whose name is the family's with this suffix.
    pub(crate) fn part(&mut self, suffix: &str, labels: &[(&str, &str)], value: impl Display) {
        let Some((name, text)) = self.families.last_mut() else { return };
        // Writing to a string cannot fail.
        let _ = write!(text, "{name}{suffix}");
        for (index, (label, value)) in labels.iter().enumerate() {
            let before = if index == 0 { '{' } else { ',' };
            let _ = write!(text, "{before}{label}=\"{}\"", escape(value));
        }
        let end = if labels.is_empty() { "" } else { "}" };
        let _ = writeln!(text, "{end} {value}");
    }

    /// Writes a gauge with a single sample.
    pub(crate) fn gauge(&mut self, name: &'static str, help: &str, value: impl Display) {
        self.family(name, "gauge", help);
        self.sample(&[], value);
    }

    /// Writes a counter with a single sample.
    pub(crate) fn counter(&mut self, name: &'static str, help: &str, value: impl Display) {
        self.family(name, "counter", help);
        self.sample(&[], value);
    }

    /// Joins the families in this order; families that it does not name come last.
    pub(crate) fn in_order(mut self, order: &[&str]) -> String {
        let place = |name: &str| order.iter().position(|known| *known == name).unwrap_or(order.len());
        self.families.sort_by_key(|(name, _)| place(name));
        self.families.into_iter().map(|(_, text)| text).collect()
    }
}

fn escape(value: &str) -> String {
    value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn families_come_in_order_and_labels_are_escaped() {
        let mut text = Text::default();
        text.gauge("unknown", "Not in the list.", 1);
        text.family("second", "counter", "With labels.");
        text.sample(&[("route", "/a\"\\\n"), ("tenant", "one")], 2);
        text.part("_sum", &[], 0.5);
        text.counter("first", "Without.", 3);
        assert_eq!(
            text.in_order(&["first", "second"]),
            "# HELP first Without.\n# TYPE first counter\nfirst 3\n\
             # HELP second With labels.\n# TYPE second counter\n\
             second{route=\"/a\\\"\\\\\\n\",tenant=\"one\"} 2\nsecond_sum 0.5\n\
             # HELP unknown Not in the list.\n# TYPE unknown gauge\nunknown 1\n"
        );
    }
}
