//! Layers of scores as if they were one, read some at a time: all in one piece would take as much memory again.

/// Where reading stands.
pub struct Joined<'a> {
    layers: std::slice::Iter<'a, &'a [f32]>,
    /// What is left of the layer begun.
    rest: &'a [f32],
}

impl<'a> Joined<'a> {
    /// At the first score.
    pub fn new(layers: &'a [&'a [f32]]) -> Self {
        Joined { layers: layers.iter(), rest: &[] }
    }

    /// Fills `out` with the next scores, as far as there are any.
    pub fn fill(&mut self, mut out: &mut [f32]) {
        while !out.is_empty() {
            while self.rest.is_empty() {
                let Some(layer) = self.layers.next() else { return };
                self.rest = layer;
            }
            let count = self.rest.len().min(out.len());
            let (these, later) = self.rest.split_at(count);
            let (filled, open) = out.split_at_mut(count);
            filled.copy_from_slice(these);
            (self.rest, out) = (later, open);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_go_over_the_ends_of_layers() {
        let layers: [&[f32]; 5] = [&[], &[1.0, 2.0, 3.0], &[4.0], &[], &[5.0, 6.0]];
        for piece in 1..8 {
            let (mut joined, mut found) = (Joined::new(&layers), vec![0.0; 6]);
            found.chunks_mut(piece).for_each(|out| joined.fill(out));
            assert_eq!(found, layers.concat(), "{piece} at a time");
        }
    }
}
