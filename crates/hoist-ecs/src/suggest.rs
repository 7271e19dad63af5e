//! "Did you mean": the known word nearest to a misspelt one.

/// The candidate nearest to `word`, if one is near enough to be a slip: differences of case, `-` and `_` count nothing, and at
/// most a third of the letters may differ. A word that is the beginning of one candidate alone counts too.
pub fn nearest<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let plain = fold(word);
    let limit = (plain.len() / 3).clamp(1, 4);
    let mut begins = Vec::new();
    let mut best: Option<(usize, &str)> = None;
    for candidate in candidates
        .into_iter()
        .filter(|candidate| *candidate != word)
    {
        let folded = fold(candidate);
        let distance = distance(&plain, &folded);
        if distance <= limit && best.is_none_or(|(least, _)| distance < least) {
            best = Some((distance, candidate));
        }
        if plain.len() >= 3 && folded.starts_with(&plain) {
            begins.push(candidate);
        }
    }
    // A word cut short counts only where it is the beginning of one candidate alone.
    match (best, begins.as_slice()) {
        (Some((_, near)), _) => Some(near),
        (None, [only]) => Some(only),
        _ => None,
    }
}

fn fold(word: &str) -> Vec<char> {
    word.chars()
        .filter(|c| !matches!(c, '-' | '_' | ' '))
        .flat_map(char::to_lowercase)
        .collect()
}

/// Optimal string alignment distance: insertions, deletions, substitutions and swaps of neighbours.
fn distance(a: &[char], b: &[char]) -> usize {
    let width = b.len() + 1;
    let mut table = vec![0; (a.len() + 1) * width];
    for (i, cell) in table.iter_mut().take(width).enumerate() {
        *cell = i;
    }
    for i in 1..=a.len() {
        table[i * width] = i;
        for j in 1..=b.len() {
            let substitution = table[(i - 1) * width + j - 1] + usize::from(a[i - 1] != b[j - 1]);
            let mut best = substitution
                .min(table[(i - 1) * width + j] + 1)
                .min(table[i * width + j - 1] + 1);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                best = best.min(table[(i - 2) * width + j - 2] + 1);
            }
            table[i * width + j] = best;
        }
    }
    table[a.len() * width + b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slips_are_recognised_and_other_words_are_not() {
        let known = [
            "portMappings",
            "environment",
            "environmentFiles",
            "image",
            "cpu",
        ];
        assert_eq!(nearest("portMapping", known), Some("portMappings"));
        assert_eq!(nearest("port-mappings", known), Some("portMappings"));
        assert_eq!(nearest("PortMappings", known), Some("portMappings"));
        assert_eq!(nearest("enviroment", known), Some("environment"));
        assert_eq!(nearest("imgae", known), Some("image"));
        assert_eq!(nearest("cup", known), Some("cpu"));
        assert_eq!(nearest("replicas", known), None);
        assert_eq!(nearest("size", ["sizeInGiB"]), Some("sizeInGiB"));
        assert_eq!(
            nearest("environ", ["environmentFiles", "environmentVariables"]),
            None
        );
    }
}
