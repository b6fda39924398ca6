//! Turns: guests that have used up a slice of the epoch wait here for their next turn. So does work that the host does
//! for guests in pieces, before each piece but the first.
//!
//! Without turns, a guest that computes would enter the runtime's queue again and again, with short work behind it. So
//! at most as many such guests run at once as there are threads, and for one tenant one fewer: one thread is left for
//! the short work of others, however many guests of the tenant compute. Tenants take turns; the guests of a tenant are
//! served in order of arrival. Work without a tenant is the host's own, and may use all threads.
//!
//! A guest that answers within its first slice never comes here.

use std::collections::VecDeque;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use parking_lot::Mutex;

use crate::tenant::Tenant;

/// The turns of one host. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Turns(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    most: usize,
    most_of_tenant: usize,
    lines: Mutex<Lines>,
}

#[derive(Debug, Default)]
struct Lines {
    taken: usize,
    /// A line for each owner that has a turn or waits for one, in the order of service.
    lines: VecDeque<Line>,
    next: u64,
}

#[derive(Debug)]
struct Line {
    owner: Option<Arc<str>>,
    taken: usize,
    /// Guests that wait.
    waiting: VecDeque<(u64, Waker)>,
    /// Numbers of guests that were called to their turn and have not come yet.
    called: Vec<u64>,
}

/// A place in a line, and then a turn; given up when dropped.
#[derive(Debug)]
pub struct Turn {
    turns: Turns,
    owner: Option<Arc<str>>,
    /// The number of the place while it waits.
    number: Option<u64>,
}

impl Turns {
    /// Creates turns for this number of threads.
    pub fn new(threads: usize) -> Self {
        let most = threads.max(1);
        Self(Arc::new(Shared { most, most_of_tenant: (most - 1).max(1), lines: Mutex::default() }))
    }

    /// Takes a turn, or a place in the line of this tenant, which `place` keeps.
    pub fn poll_take(&self, tenant: Option<&Arc<Tenant>>, place: &mut Option<Turn>, context: &Context<'_>) -> Poll<()> {
        let mut lines = self.0.lines.lock();
        let owner = tenant.map(|tenant| &tenant.name);
        if let Some(turn) = place {
            let Some(number) = turn.number else { return Poll::Ready(()) };
            let line = lines.line(owner);
            if let Some(index) = line.called.iter().position(|called| *called == number) {
                line.called.swap_remove(index);
                turn.number = None;
                return Poll::Ready(());
            }
            if let Some((_, waker)) = line.waiting.iter_mut().find(|(waiting, _)| *waiting == number) {
                waker.clone_from(context.waker());
            }
            return Poll::Pending;
        }
        let most = self.most_of(owner);
        let is_free = lines.taken < self.0.most;
        let line = lines.line(owner);
        if is_free && line.taken < most && line.waiting.is_empty() {
            line.taken += 1;
            lines.taken += 1;
            *place = Some(Turn { turns: self.clone(), owner: owner.cloned(), number: None });
            return Poll::Ready(());
        }
        let number = lines.next;
        lines.next += 1;
        lines.line(owner).waiting.push_back((number, context.waker().clone()));
        *place = Some(Turn { turns: self.clone(), owner: owner.cloned(), number: Some(number) });
        Poll::Pending
    }

    fn most_of(&self, owner: Option<&Arc<str>>) -> usize {
        if owner.is_some() { self.0.most_of_tenant } else { self.0.most }
    }

    /// Calls the guests that can have a turn now, and returns their wakers.
    fn call(&self, lines: &mut Lines) -> Vec<Waker> {
        let mut wakers = Vec::new();
        while lines.taken < self.0.most {
            let next = lines
                .lines
                .iter()
                .position(|line| !line.waiting.is_empty() && line.taken < self.most_of(line.owner.as_ref()));
            // Served lines go to the end, so that the first line that can be served has waited longest.
            let Some(mut line) = next.and_then(|index| lines.lines.remove(index)) else { break };
            if let Some((number, waker)) = line.waiting.pop_front() {
                line.called.push(number);
                line.taken += 1;
                lines.taken += 1;
                wakers.push(waker);
            }
            lines.lines.push_back(line);
        }
        lines.lines.retain(|line| line.taken > 0 || !line.waiting.is_empty());
        wakers
    }
}

impl Lines {
    fn line(&mut self, owner: Option<&Arc<str>>) -> &mut Line {
        let index = self.lines.iter().position(|line| line.owner.as_ref() == owner).unwrap_or_else(|| {
            let owner = owner.cloned();
            self.lines.push_back(Line { owner, taken: 0, waiting: VecDeque::new(), called: Vec::new() });
            self.lines.len() - 1
        });
        &mut self.lines[index]
    }
}

impl Turn {
    /// Whether this is only a place in a line.
    pub fn waits(&self) -> bool {
        self.number.is_some()
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        let wakers = {
            let mut lines = self.turns.0.lines.lock();
            let line = lines.line(self.owner.as_ref());
            let waits = self.number.is_some_and(|number| {
                let index = line.waiting.iter().position(|(waiting, _)| *waiting == number);
                index.is_some_and(|index| line.waiting.remove(index).is_some())
            });
            if !waits {
                if let Some(number) = self.number {
                    line.called.retain(|called| *called != number);
                }
                line.taken -= 1;
                lines.taken -= 1;
            }
            self.turns.call(&mut lines)
        };
        wakers.into_iter().for_each(Waker::wake);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use roadrunner_values::Quota;

    fn tenant(name: &str) -> Arc<Tenant> {
        Tenant::new(name, Quota::default())
    }

    fn take(turns: &Turns, tenant: Option<&Arc<Tenant>>) -> Option<Turn> {
        let mut place = None;
        let _ = turns.poll_take(tenant, &mut place, &Context::from_waker(Waker::noop()));
        place
    }

    fn has(turn: &mut Option<Turn>, tenant: Option<&Arc<Tenant>>) -> bool {
        let turns = turn.as_ref().expect("it stands in a line").turns.clone();
        turns.poll_take(tenant, turn, &Context::from_waker(Waker::noop())).is_ready()
    }

    #[test]
    fn one_tenant_leaves_a_thread_to_the_others() {
        let turns = Turns::new(2);
        let (a, b) = (tenant("a"), tenant("b"));
        let mut first = take(&turns, Some(&a));
        let mut second = take(&turns, Some(&a));
        assert!(has(&mut first, Some(&a)) && !has(&mut second, Some(&a)));
        let mut other = take(&turns, Some(&b));
        assert!(has(&mut other, Some(&b)));
        drop(other);
        assert!(!has(&mut second, Some(&a)), "there is a turn, but not for this tenant");
        drop(first);
        assert!(has(&mut second, Some(&a)));
        drop(second);
        assert!(turns.0.lines.lock().lines.is_empty());
    }

    #[test]
    fn tenants_take_turns_however_many_guests_each_has() {
        let turns = Turns::new(1);
        let (a, b) = (tenant("a"), tenant("b"));
        let first = take(&turns, Some(&a));
        let mut of_a: Vec<_> = (0..10).map(|_| take(&turns, Some(&a))).collect();
        let mut of_b = take(&turns, Some(&b));
        drop(first);
        let served_a = of_a.iter_mut().position(|turn| has(turn, Some(&a)));
        assert_eq!((served_a, has(&mut of_b, Some(&b))), (Some(0), false), "the line that came first");
        of_a.remove(0);
        assert!(has(&mut of_b, Some(&b)), "then the other, before nine of the first");
        drop(of_b);
        assert!(has(&mut of_a[0], Some(&a)) && !has(&mut of_a[1], Some(&a)));
    }

    #[test]
    fn who_leaves_a_line_holds_nobody_up() {
        let turns = Turns::new(1);
        let mut first = take(&turns, None);
        let (second, third) = (take(&turns, None), take(&turns, None));
        let mut fourth = take(&turns, None);
        assert!(has(&mut first, None));
        drop(second);
        drop(first);
        assert!(!has(&mut fourth, None), "the third was called");
        drop(third);
        assert!(has(&mut fourth, None), "it left without coming");
        drop(fourth);
        let lines = turns.0.lines.lock();
        assert_eq!((lines.taken, lines.lines.len()), (0, 0));
    }

    #[test]
    fn the_host_itself_may_use_all_threads() {
        let turns = Turns::new(2);
        let (mut first, mut second) = (take(&turns, None), take(&turns, None));
        assert!(has(&mut first, None) && has(&mut second, None));
    }
}
