// SPDX-License-Identifier: Apache-2.0
//! Inputs of the golden vectors, by name. Each aims at a rule of some encoder: an edge of a window, a tie, a limit.

/// The generator behind all inputs: a linear congruential one.
struct Generator(u32);

impl Generator {
    fn word(&mut self) -> u32 {
        self.0 = self.0.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        self.0
    }

    fn byte(&mut self) -> u8 {
        (self.word() >> 24) as u8
    }
}

/// `L(n,s)`: bytes that no encoder makes smaller.
pub fn noise(size: usize, seed: u32) -> Vec<u8> {
    let mut generator = Generator(seed);
    (0..size).map(|_| generator.byte()).collect()
}

/// `LM(n,s,m)`: noise of the bits in `mask`.
pub fn masked(size: usize, seed: u32, mask: u8) -> Vec<u8> {
    noise(size, seed).into_iter().map(|byte| byte & mask).collect()
}

/// `Text(n,s)`: words.
pub fn text(size: usize, seed: u32) -> Vec<u8> {
    let mut generator = Generator(seed);
    let mut text = Vec::with_capacity(size + 16);
    while text.len() < size {
        let word = u32::from(generator.byte() & generator.byte());
        let letters = (0..2 + word % 7).map(|i| 97 + ((7 * word + 5 * i * i + i * word) % 26) as u8);
        text.extend(letters);
        text.push(b' ');
    }
    text.truncate(size);
    text
}

/// `Mix(k,s)`: segments of four kinds.
pub fn mix(segments: u32, seed: u32) -> Vec<u8> {
    let mut generator = Generator(seed);
    let mut out = Vec::new();
    for j in 0..segments {
        let (high, low) = (usize::from(generator.byte()), usize::from(generator.byte()));
        let size = 1000 + 256 * high + low;
        match j % 4 {
            0 => out.extend(text(size, j)),
            1 => out.extend(noise(size, j)),
            2 => out.extend(masked(size, j, 0x13)),
            _ => {
                let distance = 20000 + (977 * j as usize % 20000);
                for i in 0..size {
                    out.push(if i % 509 == 508 { i as u8 } else { out[out.len() - distance] });
                }
            }
        }
    }
    out
}

/// `R(n,s)`: runs of copies.
pub fn copies(size: usize, seed: u32) -> Vec<u8> {
    let mut out = masked(2000, seed, 7);
    let mut generator = Generator(seed.wrapping_add(1));
    while out.len() < size {
        let (length, high, low) = (generator.byte(), generator.byte(), generator.byte());
        let distance = 1 + (256 * usize::from(high) + usize::from(low)) % 32767 % out.len();
        for _ in 0..3 + usize::from(length) {
            out.push(out[out.len() - distance]);
        }
    }
    out.truncate(size);
    out
}

/// `Clz(n,s)`: leading zeros of noise.
pub fn leading_zeros(size: usize, seed: u32) -> Vec<u8> {
    let mut generator = Generator(seed);
    (0..size).map(|_| generator.word().leading_zeros() as u8).collect()
}

/// `Fib(m,s)`: each symbol as often as its Fibonacci number, shuffled.
pub fn fibonacci(symbols: u8, seed: u32) -> Vec<u8> {
    let mut out = Vec::new();
    let (mut count, mut next) = (1, 1);
    for symbol in 0..symbols {
        out.extend(std::iter::repeat_n(symbol, count));
        (count, next) = (next, count + next);
    }
    let mut generator = Generator(seed);
    for i in (1..out.len()).rev() {
        let j = (generator.word() >> 8) as usize % (i + 1);
        out.swap(i, j);
    }
    out
}

/// `B(n,s)`: noise of 144 values.
pub fn noise_below_144(size: usize, seed: u32) -> Vec<u8> {
    noise(size, seed).into_iter().map(|byte| byte % 144).collect()
}

fn sequence(size: usize) -> Vec<u8> {
    (0..size).map(|k| k as u8).collect()
}

fn repeated(byte: u8, count: usize) -> Vec<u8> {
    vec![byte; count]
}

fn join(parts: &[Vec<u8>]) -> Vec<u8> {
    parts.concat()
}

/// Copies 20 bytes within noise.
fn copied(size: usize, seed: u32, to: usize, from: usize) -> Vec<u8> {
    let mut bytes = masked(size, seed, 0x7f);
    bytes.copy_within(from..from + 20, to);
    bytes
}

/// Random insertions of 20 bytes of a short string; GNU gzip ends its block early.
fn gnu_truncated() -> Vec<u8> {
    let (q, p) = (noise(12000, 51), noise(320, 50));
    let mut out = Vec::new();
    for j in 0..6000 {
        out.extend_from_slice(&q[2 * j..2 * j + 2]);
        let k = usize::from(q[2 * j]) % 16;
        out.extend_from_slice(&p[20 * k..20 * k + 20]);
    }
    out
}

/// Numbers in parentheses behind `prefix`.
fn numbers(name: &str, prefix: &str) -> Option<Vec<u32>> {
    let list = name.strip_prefix(prefix)?.strip_suffix(')')?;
    let number = |text: &str| match text.strip_prefix("0x") {
        Some(digits) => u32::from_str_radix(digits, 16).ok(),
        None => text.parse().ok(),
    };
    list.split(',').map(number).collect()
}

type Generate = fn(usize, u32) -> Vec<u8>;

fn generated(name: &str) -> Option<Vec<u8>> {
    if let Some(count) = name.strip_prefix("a*") {
        return Some(repeated(b'a', count.parse().ok()?));
    }
    if let Some([n]) = numbers(name, "Seq(").as_deref() {
        return Some(sequence(*n as usize));
    }
    if let Some([n, s, m]) = numbers(name, "LM(").as_deref() {
        return Some(masked(*n as usize, *s, *m as u8));
    }
    if let Some([m, s]) = numbers(name, "est(").as_deref() {
        let (m, s) = (*m as usize, *s);
        let parts =
            [leading_zeros(65535, s), leading_zeros(m, s + 1), masked(65535 - m, s, 3), b"xyz".to_vec()];
        return Some(join(&parts));
    }
    let generators: [(&str, Generate); 4] =
        [("L(", noise), ("Text(", text), ("R(", copies), ("Mix(", |k, s| mix(k as u32, s))];
    generators.into_iter().find_map(|(prefix, generator)| {
        let [n, s] = numbers(name, prefix)?.try_into().ok()?;
        Some(generator(n as usize, s))
    })
}

/// The plain bytes of an input.
pub fn input(name: &str) -> Vec<u8> {
    if let Some(bytes) = generated(name) {
        return bytes;
    }
    let far = |distance: usize| join(&[noise(distance, 7), noise(300, 7)]);
    let wxyz = |gap: &[u8], behind: &[u8], word: &[u8]| [word, gap, word, behind].concat();
    let m = |size| masked(size, 9, 0x3f);
    match name {
        "empty" => Vec::new(),
        "abc" => b"abc".to_vec(),
        "ab*8" => b"ab".repeat(8),
        "hello" => b"hello hello hello hello".to_vec(),
        "lazy1" => b"abcd_bcdefg_abcdefg_".to_vec(),
        "lazy2" => b"0abcde1bcdefghi2abcdefghijk".to_vec(),
        "near" => b"0abcdef1abcdef2abcdef3".to_vec(),
        "far32767" => far(32767),
        "far32768" => far(32768),
        "far32769" => far(32769),
        "far32600x8" => text(32600, 11).repeat(8),
        "far32768x8" => text(32768, 11).repeat(8),
        "lit+zeros" => join(&[noise(40000, 12), repeated(0, 40000), noise(40000, 13)]),
        "far4096len4" => wxyz(&noise(4092, 9), &noise(20, 10), b"WXYZ"),
        "far4097len4" => wxyz(&noise(4093, 9), &noise(20, 10), b"WXYZ"),
        "m4096" => wxyz(&m(4092), &masked(400, 10, 0x3f), b"WXYZ"),
        "m4097" => wxyz(&m(4093), &masked(400, 10, 0x3f), b"WXYZ"),
        "m3-4096" => wxyz(&m(4093), &masked(400, 10, 0x3f), b"XYZ"),
        "m3-4097" => wxyz(&m(4094), &masked(400, 10, 0x3f), b"XYZ"),
        "W1" => copied(70000, 77, 65274, 32506),
        "W32507" => copied(70000, 77, 65275, 32768),
        "W32508" => copied(70000, 77, 65275, 32767),
        "W-end" => copied(65536, 77, 65400, 32632),
        "W-end+1" => copied(65537, 77, 65400, 32632),
        "x32505" => copied(60000, 78, 40000, 40000 - 32505),
        "x32506" => copied(60000, 78, 40000, 40000 - 32506),
        "x32507" => copied(60000, 78, 40000, 40000 - 32507),
        "x32767" => copied(60000, 78, 40000, 40000 - 32767),
        "len259" => join(&[noise(300, 5), vec![0], noise(259, 5), vec![1]]),
        "len261" => join(&[noise(300, 5), vec![0], noise(261, 5), vec![1]]),
        "len262" => join(&[noise(300, 5), vec![0], noise(262, 5), vec![1]]),
        "lits128" => masked(128, 6, 0x0f),
        "lits2000" => masked(2000, 6, 0x3f),
        "nice128" => join(&[
            masked(200, 20, 0x7f),
            masked(10, 21, 0x7f),
            masked(128, 20, 0x7f),
            vec![0xff],
            masked(10, 22, 0x7f),
            masked(200, 20, 0x7f),
        ]),
        "reuse" => join(&[
            text(65535, 1),
            text(65535, 5),
            masked(65535, 6, 0x1f),
            text(65535, 6),
            masked(65535, 7, 0x1f),
            masked(65535, 8, 0x1f),
            text(40000, 7),
        ]),
        "fixedtail" => join(&[text(65535, 1), repeated(b'a', 65535), repeated(b'b', 20000)]),
        "gnutrunc" => gnu_truncated(),
        "clz1" => leading_zeros(200_000, 1),
        "fib1" => fibonacci(21, 7),
        "fib2" => fibonacci(23, 9),
        "clz-reuse" => join(&[leading_zeros(100_000, 2), masked(31070, 2, 0x0b), leading_zeros(40000, 3)]),
        "k-mix" => join(&[text(70000, 31), mix(6, 32), text(70000, 31), text(70000, 33), text(70000, 31)]),
        "B247" => join(&[noise_below_144(247, 3), noise_below_144(60, 3)]),
        "B248" => join(&[noise_below_144(248, 3), noise_below_144(60, 3)]),
        "131072" => text(131_072, 9),
        "131073" => text(131_073, 9),
        "tie-fd1" => text(59, 4849),
        "tie-fd2" => masked(51, 7384, 0xf0),
        "tie-st1" => masked(43, 2188, 0xf0),
        "tie-st2" => masked(47, 7368, 0xf0),
        "tie-d1" => masked(109, 2524, 0x3f),
        "tie-d2" => masked(505, 4512, 0x7f),
        "tie-z1" => masked(29, 2116, 0x0f),
        "tie-z2" => text(43, 2185),
        "tie-z3" => masked(55, 2252, 0xf0),
        "tie-z4" => masked(31, 4708, 0xf0),
        "tie-k1" => join(&[text(65535, 1339), noise(620, 1339), repeated(b'a', 63)]),
        "tie-k2" => masked(91, 10168, 0x03),
        "tie-k3" => join(&[text(65535, 3255), noise(545, 3255), repeated(b'a', 43)]),
        "k-reuse" => join(&[text(65535, 3134), masked(67080, 3134, 0x1f)]),
        _ => panic!("no input has the name {name}"),
    }
}
