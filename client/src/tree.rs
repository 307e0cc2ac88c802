//! Branches as a tree, with the worktrees on them: a source, then what was forked from it. Decides the order and the twigs,
//! prints nothing.

use lakebase_proto::v1::{Branch, UnusedBranch, Worktree};
use std::collections::{BTreeMap, BTreeSet};

/// One line of the tree.
#[derive(Debug, PartialEq)]
pub(crate) struct Row<'a> {
    /// Twigs and name, as in `└─ jane-main`.
    pub(crate) label: String,
    /// What is on it.
    pub(crate) on: On<'a>,
}

/// What is on a branch.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum On<'a> {
    /// A worktree.
    Worktree(&'a Worktree),
    /// Nothing: it waits to be used again, or for its end.
    Nothing(&'a UnusedBranch),
    /// Nothing of this repository: it is only a source of others.
    Elsewhere,
}

impl<'a> On<'a> {
    fn branch(self) -> Option<&'a Branch> {
        match self {
            Self::Worktree(worktree) => worktree.branch.as_ref(),
            Self::Nothing(unused) => unused.branch.as_ref(),
            Self::Elsewhere => None,
        }
    }
}

/// Lays out the branches of one repository. Worktrees without a branch come last.
pub(crate) fn rows<'a>(worktrees: &'a [Worktree], unused: &'a [UnusedBranch]) -> Vec<Row<'a>> {
    let mut tree = Tree::default();
    let all = worktrees.iter().map(On::Worktree);
    for on in all.chain(unused.iter().map(On::Nothing)) {
        tree.add(on);
    }
    let mut rows = Vec::new();
    let sources: Vec<&str> = tree.children.keys().copied().collect();
    let roots = sources
        .into_iter()
        .filter(|name| !tree.sources.contains_key(name));
    let roots: BTreeSet<&str> = roots.chain(tree.lone()).collect();
    for root in roots {
        tree.walk(root, "", "", &mut rows);
    }
    let branchless = worktrees.iter().filter(|worktree| worktree.branch.is_none());
    rows.extend(branchless.map(|worktree| Row {
        label: "-".to_owned(),
        on: On::Worktree(worktree),
    }));
    rows
}

/// Branches by name.
#[derive(Default)]
struct Tree<'a> {
    on: BTreeMap<&'a str, Vec<On<'a>>>,
    sources: BTreeMap<&'a str, &'a str>,
    children: BTreeMap<&'a str, BTreeSet<&'a str>>,
}

impl<'a> Tree<'a> {
    fn add(&mut self, on: On<'a>) {
        let Some(branch) = on.branch() else {
            return;
        };
        let name = branch.branch_id.as_str();
        self.on.entry(name).or_default().push(on);
        // A resource name: projects/{p}/branches/{b}.
        let source = branch.source_branch.rsplit('/').next().unwrap_or_default();
        if !source.is_empty() && source != name && !self.is_above(name, source) {
            self.sources.insert(name, source);
            self.children.entry(source).or_default().insert(name);
        }
    }

    /// Says whether `upper` is among the sources of `lower`, and so cannot come from it too.
    fn is_above(&self, upper: &str, lower: &str) -> bool {
        let sources = std::iter::successors(Some(lower), |name| self.sources.get(name).copied());
        sources.into_iter().any(|name| name == upper)
    }

    /// Branches that come from nothing that is known.
    fn lone(&self) -> impl Iterator<Item = &'a str> {
        self.on
            .keys()
            .copied()
            .filter(|name| !self.sources.contains_key(name))
    }

    fn walk(&self, name: &'a str, twig: &str, indent: &str, rows: &mut Vec<Row<'a>>) {
        let label = format!("{twig}{name}");
        match self.on.get(name) {
            None => rows.push(Row {
                label,
                on: On::Elsewhere,
            }),
            Some(on) => rows.extend(on.iter().map(|on| Row {
                label: label.clone(),
                on: *on,
            })),
        }
        let Some(children) = self.children.get(name) else {
            return;
        };
        for (index, child) in children.iter().enumerate() {
            let (twig, below) = if index + 1 == children.len() {
                ("└─ ", "   ")
            } else {
                ("├─ ", "│  ")
            };
            self.walk(
                child,
                &format!("{indent}{twig}"),
                &format!("{indent}{below}"),
                rows,
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn on(branch: &str, source: &str) -> Worktree {
        let source_branch = format!("projects/shop/branches/{source}");
        Worktree {
            path: format!("/{branch}"),
            branch: Some(Branch {
                branch_id: branch.into(),
                source_branch,
                ..Branch::default()
            }),
            ..Worktree::default()
        }
    }

    fn labels(worktrees: &[Worktree]) -> Vec<String> {
        rows(worktrees, &[]).into_iter().map(|row| row.label).collect()
    }

    #[test]
    fn branches_hang_below_their_source() {
        let worktrees = [
            on("jane-main-worktree-b", "jane-main"),
            on("jane-main", "production"),
            on("jane-main-worktree-a", "jane-main"),
            on("jane-x", "production"),
            Worktree::default(),
        ];
        let expected = [
            "production",
            "├─ jane-main",
            "│  ├─ jane-main-worktree-a",
            "│  └─ jane-main-worktree-b",
            "└─ jane-x",
            "-",
        ];
        assert_eq!(labels(&worktrees), expected);
        assert_eq!(rows(&worktrees, &[])[0].on, On::Elsewhere);
        assert_eq!(rows(&worktrees, &[])[1].on, On::Worktree(&worktrees[1]));
    }

    #[test]
    fn a_branch_without_a_worktree_hangs_where_it_belongs() {
        let worktrees = [on("jane-main", "production"), on("jane-b", "jane-main")];
        let unused = [UnusedBranch {
            branch: on("jane-a", "jane-main").branch,
            ..UnusedBranch::default()
        }];
        let rows = rows(&worktrees, &unused);
        let labels: Vec<_> = rows.iter().map(|row| row.label.as_str()).collect();
        assert_eq!(
            labels,
            ["production", "└─ jane-main", "   ├─ jane-a", "   └─ jane-b"]
        );
        assert_eq!(rows[2].on, On::Nothing(&unused[0]));
    }

    #[test]
    fn a_branch_without_source_is_a_root() {
        assert_eq!(labels(&[on("x", "")]), ["x"]);
    }

    #[test]
    fn sources_that_go_in_circles_are_still_listed_once() {
        assert_eq!(labels(&[on("a", "b"), on("b", "a")]), ["b", "└─ a"]);
        assert_eq!(labels(&[on("a", "a")]), ["a"]);
    }

    #[test]
    fn two_worktrees_on_one_branch_are_two_rows() {
        assert_eq!(labels(&[on("a", ""), on("a", "")]), ["a", "a"]);
    }
}
