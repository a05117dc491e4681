//! SplitMix64 (Steele, Lea, Flood 2014): the numbers behind generated events. It is our own ten lines and not a library
//! because a seed must give the same events with every later version of Millstream.

/// A stream of numbers that a seed fixes for ever.
#[derive(Clone, Debug)]
pub struct Random(u64);

/// A prime above every table size: multiplying by it modulo the size visits each number once.
const SCATTER: u64 = 4_294_967_311;

impl Random {
    /// The stream of a seed.
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// 64 random bits.
    pub fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        mix(self.0)
    }

    /// A number below `end`, each as likely (but for a bias below 2^-32); `end` is at most 2^32.
    pub fn below(&mut self, end: u64) -> u64 {
        ((self.bits() >> 32) * end) >> 32
    }

    /// A number below `end` (at most 2^32) as Zipf has it, roughly: rank `r` comes about as often as 1/r. Ranks are
    /// scattered over the numbers, so that the frequent ones do not lie side by side.
    pub fn zipf_below(&mut self, end: u64) -> u64 {
        let levels = u64::from(64 - end.leading_zeros());
        loop {
            let level = self.below(levels);
            let rank = (1 << level) + self.below(1 << level) - 1;
            if rank < end {
                return (rank * (SCATTER % end)) % end;
            }
        }
    }
}

/// SplitMix64's finisher: a bijection on 64 bits, so different numbers stay different.
pub fn mix(number: u64) -> u64 {
    let mut z = number;
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_gives_the_published_stream() {
        let mut random = Random::new(1_234_567);
        let first: Vec<u64> = (0..3).map(|_| random.bits()).collect();
        assert_eq!(first, [6_457_827_717_110_365_317, 3_203_168_211_198_807_973, 9_817_491_932_198_370_423]);
    }

    #[test]
    fn few_keys_get_most_of_the_draws_and_all_are_in_range() {
        let mut random = Random::new(1);
        let mut counts = vec![0u32; 1000];
        for _ in 0..100_000 {
            counts[random.zipf_below(1000) as usize] += 1;
        }
        counts.sort_unstable_by(|a, b| b.cmp(a));
        assert!(counts[0] > 5_000, "the most frequent key came {} times", counts[0]);
        assert!(counts[..100].iter().sum::<u32>() > 60_000, "a tenth of the keys should get most of the draws");
        assert!(counts[999] > 0, "every key comes");
    }
}
