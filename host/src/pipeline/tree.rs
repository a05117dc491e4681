//! Who reads from where: the plan's tree, turned around.

use std::collections::HashMap;

use crate::plan::{Place, Plan};

/// Who reads from one place.
#[derive(Clone, Debug, Default)]
pub struct Readers {
    /// Indexes into the plan's stages.
    pub stages: Vec<usize>,
    /// Indexes into the plan's outputs.
    pub outputs: Vec<usize>,
}

impl Readers {
    /// How many read every row of the place.
    pub fn len(&self) -> u64 {
        (self.stages.len() + self.outputs.len()) as u64
    }

    /// Whether nobody reads from the place.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// The readers of every place.
#[derive(Clone, Debug)]
pub struct Tree {
    readers: HashMap<Place, Readers>,
    nobody: Readers,
}

impl Tree {
    /// Turns a plan's `from`s around.
    pub fn new(plan: &Plan) -> Self {
        let mut readers: HashMap<Place, Readers> = HashMap::new();
        for (index, stage) in plan.stages.iter().enumerate() {
            readers.entry(stage.from).or_default().stages.push(index);
        }
        for (index, output) in plan.outputs.iter().enumerate() {
            readers.entry(output.from).or_default().outputs.push(index);
        }
        Self { readers, nobody: Readers::default() }
    }

    /// Who reads from a place.
    pub fn readers(&self, place: Place) -> &Readers {
        self.readers.get(&place).unwrap_or(&self.nobody)
    }

    /// The routes of a stage that anybody reads, ascending.
    pub fn routes(&self, stage: usize) -> Vec<u16> {
        let mut routes: Vec<u16> = self
            .readers
            .keys()
            .filter_map(|place| match place {
                Place::Route { stage: other, output } if *other == stage => Some(*output),
                _ => None,
            })
            .collect();
        routes.sort_unstable();
        routes
    }
}
