//! The patterns of one host as a tree of segments.

use std::borrow::Cow;

use http::{HeaderValue, Method};
use smallvec::SmallVec;

use super::{Map, allow};
use crate::pattern::{RoutePattern, Segment, decode_segment};
use crate::route::{Methods, Route};

/// The place of a capture in the path: first and last byte, the latter exclusive.
pub(super) type Captures = SmallVec<[(usize, usize); 4]>;

/// The match of a path.
pub(super) enum Match<'t> {
    Leaf(&'t Leaf, Captures),
    None,
    /// No path at all.
    Bad,
}

/// The patterns of one host.
#[derive(Clone, Debug, Default)]
pub(super) struct Tree {
    /// Whole paths of patterns without captures. If a path is one of these, this is its most specific match.
    literals: Map<Leaf>,
    root: Node,
    /// Whether there are patterns with captures.
    captures: bool,
}

#[derive(Clone, Debug, Default)]
struct Node {
    literals: Map<Node>,
    param: Option<Box<Node>>,
    rest: Option<Leaf>,
    leaf: Option<Leaf>,
}

/// The routes of one pattern. Their methods do not overlap.
#[derive(Clone, Debug, Default)]
pub(super) struct Leaf {
    routes: SmallVec<[usize; 2]>,
    allow: Option<HeaderValue>,
}

impl Tree {
    /// Adds a route. The error is the earlier route that answers the same pattern and method.
    pub(super) fn insert(
        &mut self,
        pattern: &RoutePattern,
        index: usize,
        methods: &Methods,
        routes: &[Route],
    ) -> Result<(), usize> {
        let mut node = &mut self.root;
        let mut rest = false;
        for segment in pattern.segments() {
            match segment {
                Segment::Literal(text) => node = node.literals.entry(text.as_str().into()).or_default(),
                Segment::Param(_) => node = node.param.get_or_insert_default(),
                Segment::Rest(_) => rest = true,
            }
        }
        let leaf = if rest { &mut node.rest } else { &mut node.leaf };
        let leaf = leaf.get_or_insert_default();
        if let Some(&first) = leaf.routes.iter().find(|&&first| routes[first].methods.overlaps(methods)) {
            return if first == index { Ok(()) } else { Err(first) };
        }
        leaf.routes.push(index);
        Ok(())
    }

    /// Prepares lookups, once all routes are in.
    pub(super) fn finish(&mut self, routes: &[Route]) {
        let mut literals = Map::default();
        self.captures = self.root.finish(routes, &mut String::new(), true, &mut literals);
        self.literals = literals;
    }

    pub(super) fn find(&self, path: &str) -> Match<'_> {
        let Some(relative) = path.strip_prefix('/') else { return Match::Bad };
        if !path.as_bytes().contains(&b'%') {
            if let Some(leaf) = self.literals.get(path) {
                return Match::Leaf(leaf, Captures::new());
            }
            if !self.captures {
                return Match::None;
            }
        } else if !is_path(path) {
            return Match::Bad;
        }
        let mut search = Search { path, captures: Captures::new(), bad: false };
        match search.descend(&self.root, path.len() - relative.len()) {
            Some(leaf) => Match::Leaf(leaf, search.captures),
            None if search.bad => Match::Bad,
            None => Match::None,
        }
    }
}

impl Node {
    /// Returns whether there is any capture below.
    fn finish(&mut self, routes: &[Route], path: &mut String, literal: bool, literals: &mut Map<Leaf>) -> bool {
        for leaf in self.leaf.iter_mut().chain(&mut self.rest) {
            leaf.allow = Some(allow(leaf.routes.iter().map(|&index| &routes[index].methods)));
        }
        if let Some(leaf) = self.leaf.as_ref().filter(|_| literal) {
            literals.insert(path.as_str().into(), leaf.clone());
        }
        let mut captures = self.rest.is_some();
        if let Some(param) = &mut self.param {
            captures = true;
            param.finish(routes, path, false, literals);
        }
        for (text, node) in &mut self.literals {
            let length = path.len();
            path.push('/');
            path.push_str(text);
            // A decoded slash or percent sign cannot stand in a path without percent signs.
            captures |= node.finish(routes, path, literal && !text.contains(['/', '%']), literals);
            path.truncate(length);
        }
        captures
    }
}

impl Leaf {
    pub(super) fn route_for(&self, method: &Method, routes: &[Route]) -> Option<usize> {
        self.routes.iter().copied().find(|&index| routes[index].methods.contains(method))
    }

    pub(super) fn allow(&self) -> &HeaderValue {
        self.allow.as_ref().expect("every leaf of a finished tree has it")
    }
}

struct Search<'p> {
    path: &'p str,
    captures: Captures,
    /// Whether a segment was not UTF-8.
    bad: bool,
}

impl Search<'_> {
    /// `at` is the first byte of the next segment.
    fn descend<'t>(&mut self, node: &'t Node, at: usize) -> Option<&'t Leaf> {
        let end = self.path[at..].find('/').map_or(self.path.len(), |length| at + length);
        let segment = &self.path[at..end];
        if !node.literals.is_empty() {
            match decode(segment) {
                None => self.bad = true,
                Some(decoded) => {
                    if let Some(next) = node.literals.get(decoded.as_ref())
                        && let Some(leaf) = self.enter(next, end)
                    {
                        return Some(leaf);
                    }
                }
            }
        }
        if let Some(next) = node.param.as_deref().filter(|_| !segment.is_empty()) {
            self.captures.push((at, end));
            if let Some(leaf) = self.enter(next, end) {
                return Some(leaf);
            }
            self.captures.pop();
        }
        if let Some(leaf) = &node.rest {
            self.captures.push((at, self.path.len()));
            return Some(leaf);
        }
        None
    }

    /// `end` is the end of the segment that led here.
    fn enter<'t>(&mut self, node: &'t Node, end: usize) -> Option<&'t Leaf> {
        if end == self.path.len() { node.leaf.as_ref() } else { self.descend(node, end + 1) }
    }
}

/// Whether every percent sign is followed by two hexadecimal digits, after a leading slash.
pub(super) fn is_path(path: &str) -> bool {
    let bytes = path.as_bytes();
    bytes.first() == Some(&b'/')
        && bytes
            .iter()
            .enumerate()
            .filter(|(_, b)| **b == b'%')
            .all(|(at, _)| bytes.get(at + 1..at + 3).is_some_and(|digits| digits.iter().all(u8::is_ascii_hexdigit)))
}

fn decode(segment: &str) -> Option<Cow<'_, str>> {
    if segment.contains('%') { decode_segment(segment) } else { Some(Cow::Borrowed(segment)) }
}
