//! Groups as a tree of differences: all images, then halves of the groups against each other, down to single groups.
//!
//! ```text
//! two neighbours of n_l and n_r images:   mean = (n_l x_l + n_r x_r) / (n_l + n_r),     difference = x_r - x_l
//! weight of the mean of all n images: n;  of a difference: n_l n_r / (n_l + n_r)
//! ```
//!
//! Subclasses differ little from their class and classes little from each other, so differences are small. The transform is
//! orthogonal where group g counts as often as it has images: `sum_g n_g x_g^2 = sum of weight * coefficient^2`. An error of
//! `1 / sqrt(weight)` in any coefficient then costs the moments of all clients together the same.
//! Source: the unbalanced Haar transform (Girardi and Sweldens 1997).

/// A coefficient's place in the tree.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Node {
    /// The group, counted among those that there are, in whose row the coefficient stands.
    pub row: usize,
    /// The node above, which comes earlier; the first one's is itself.
    pub parent: usize,
    /// What its square counts.
    pub weight: f64,
    /// How deep it lies.
    pub level: Level,
    /// The row of the left neighbour.
    left: usize,
    /// The right neighbour's share of the images of both.
    share: f64,
}

/// How deep a coefficient lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    /// The mean of all images.
    Whole,
    /// A difference between classes.
    Classes,
    /// A difference within one.
    Subclasses,
}

/// The tree of some groups, every node after the one above it.
#[derive(Clone, Debug)]
pub struct GroupTree {
    nodes: Vec<Node>,
}

/// What is under a node: its first row, its images, and its place in the list.
struct Half {
    row: usize,
    images: f64,
}

impl GroupTree {
    /// The tree of groups with these numbers, ascending, and so many images, of `subclasses` a class.
    pub fn new(groups: &[(u32, u32)], subclasses: u32) -> Self {
        let images: f64 = groups.iter().map(|&(_, images)| f64::from(images)).sum();
        let whole = Node { row: 0, parent: 0, weight: images, level: Level::Whole, left: 0, share: 0.0 };
        let mut tree = GroupTree { nodes: vec![whole] };
        tree.divide(groups, 0, (0, subclasses));
        tree
    }

    /// The nodes, every one after the one above it.
    pub fn nodes(&self) -> &[Node] {
        &self.nodes
    }

    /// Adds the differences among `groups`, which begin at row `first`.
    fn divide(&mut self, groups: &[(u32, u32)], first: usize, (parent, subclasses): (usize, u32)) -> Half {
        let images = groups.iter().map(|&(_, images)| f64::from(images)).sum();
        let (Some(&(low, _)), Some(&(high, _)), true) = (groups.first(), groups.last(), groups.len() > 1) else {
            return Half { row: first, images };
        };
        // Between classes as long as there are several, and then between the lower and the upper subclasses.
        let (level, unit) =
            if low / subclasses < high / subclasses { (Level::Classes, subclasses) } else { (Level::Subclasses, 1) };
        let middle = (low / unit + high / unit).div_ceil(2) * unit;
        let at = groups.partition_point(|&(group, _)| group < middle);
        let node = self.nodes.len();
        self.nodes.push(Node { row: first + at, parent, weight: 0.0, level, left: first, share: 0.0 });
        let left = self.divide(&groups[..at], first, (node, subclasses));
        let right = self.divide(&groups[at..], first + at, (node, subclasses));
        debug_assert_eq!((left.row, right.row), (first, first + at));
        self.nodes[node].share = right.images / images;
        self.nodes[node].weight = left.images * right.images / images;
        Half { row: first, images }
    }

    /// Puts coefficients in the place of the values of each group, whose rows have `width` values.
    pub fn forward(&self, values: &mut [f64], width: usize) {
        for node in self.nodes[1..].iter().rev() {
            let (left, right) = rows(values, node, width);
            for (l, r) in left.iter_mut().zip(right) {
                *r -= *l;
                *l += node.share * *r;
            }
        }
    }

    /// Puts the values of each group in the place of coefficients.
    pub fn inverse(&self, values: &mut [f64], width: usize) {
        for node in &self.nodes[1..] {
            let (left, right) = rows(values, node, width);
            for (l, r) in left.iter_mut().zip(right) {
                *l -= node.share * *r;
                *r += *l;
            }
        }
    }
}

/// The rows of a node's two neighbours.
fn rows<'a>(values: &'a mut [f64], node: &Node, width: usize) -> (&'a mut [f64], &'a mut [f64]) {
    let (before, after) = values.split_at_mut(node.row * width);
    (&mut before[node.left * width..][..width], &mut after[..width])
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Four classes of four subclasses, of which some are missing, with uneven numbers of images.
    const GROUPS: [(u32, u32); 9] = [(0, 5), (1, 1), (3, 8), (6, 2), (8, 40), (9, 3), (10, 3), (11, 1), (15, 7)];

    fn values(width: usize) -> Vec<f64> {
        (0..GROUPS.len() * width).map(|i| ((i * 37 + 11) % 101) as f64 - 50.0).collect()
    }

    #[test]
    fn values_come_back_from_their_coefficients() {
        let tree = GroupTree::new(&GROUPS, 4);
        let mut coefficients = values(3);
        tree.forward(&mut coefficients, 3);
        tree.inverse(&mut coefficients, 3);
        assert!(coefficients.iter().zip(values(3)).all(|(a, b)| (a - b).abs() < 1e-12));
    }

    #[test]
    fn weighted_squares_are_kept() {
        let tree = GroupTree::new(&GROUPS, 4);
        let mut coefficients = values(1);
        let before: f64 = coefficients.iter().zip(GROUPS).map(|(x, (_, n))| f64::from(n) * x * x).sum();
        tree.forward(&mut coefficients, 1);
        let after: f64 = tree.nodes().iter().map(|node| node.weight * coefficients[node.row].powi(2)).sum();
        assert!((before - after).abs() < 1e-9 * before, "{before} became {after}");
    }

    #[test]
    fn classes_are_divided_before_subclasses_and_every_row_has_one_node() {
        let tree = GroupTree::new(&GROUPS, 4);
        let mut rows: Vec<usize> = tree.nodes().iter().map(|node| node.row).collect();
        rows.sort_unstable();
        assert_eq!(rows, (0..GROUPS.len()).collect::<Vec<_>>());
        let between: Vec<usize> = tree.nodes().iter().filter(|n| n.level == Level::Classes).map(|n| n.row).collect();
        assert_eq!(between, [4, 3, 8], "rows at which class 2, class 1 and class 3 begin");
        assert!(tree.nodes().iter().enumerate().all(|(at, node)| node.parent < at || at == 0));
    }

    #[test]
    fn a_single_group_is_its_own_mean() {
        let tree = GroupTree::new(&[(7, 3)], 8);
        let mut value = [2.5];
        tree.forward(&mut value, 1);
        assert_eq!((value, tree.nodes().len(), tree.nodes()[0].weight), ([2.5], 1, 3.0));
    }
}
