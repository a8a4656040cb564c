//! What a set's labels tell that its user may not know: classes without images, labels that look counted from 1.

use std::path::Path;

use super::shown::shown;

/// Names and numbers that a note shows.
const SHOWN: usize = 4;

/// A note on the `classes` that have none of the images with these `labels`, if there are any; `place` is where the set is.
pub(super) fn note(place: &str, classes: &[String], labels: impl Iterator<Item = u32>) -> Option<String> {
    let mut has_images = vec![false; classes.len()];
    labels.for_each(|label| {
        if let Some(seen) = has_images.get_mut(label as usize) {
            *seen = true;
        }
    });
    let empty: Vec<usize> = (0..classes.len()).filter(|&label| !has_images[label]).collect();
    let (first, num_classes) = (*empty.first()?, classes.len());
    let seen = ranges(&has_images);
    if empty == [0] && num_classes > 2 {
        let largest = num_classes - 1;
        return Some(format!(
            "{place}: labels are 1 to {largest}, as if counted from 1, so that class 0 ({}) has no images: if they are, \
             give each 1 less, for they are expected from 0",
            shown(&classes[first])
        ));
    }
    let names: Vec<String> = empty.iter().take(SHOWN).map(|&label| shown(&classes[label])).collect();
    let more = if empty.len() > SHOWN { format!(" and {} more", empty.len() - SHOWN) } else { String::new() };
    let have = if empty.len() == 1 { "has" } else { "have" };
    Some(format!(
        "{place}: {} of {num_classes} classes {have} no images ({}{more}); labels are {seen}",
        empty.len(),
        names.join(", ")
    ))
}

/// A note on a set with one class: a tree that was given one level too high or too deep often has one.
pub(super) fn note_single(place: &Path, classes: &[String]) -> Option<String> {
    let [class] = classes else { return None };
    Some(format!("{} has a single class ({class}): there is nothing to tell apart", place.display()))
}

/// What helps where a label is beyond `num_classes`: labels that are counted from 1, by their smallest and largest.
pub(super) fn advice_on_numbers(labels: impl Iterator<Item = u32> + Clone, num_classes: usize) -> &'static str {
    match (labels.clone().min(), labels.max()) {
        (Some(1..), Some(largest)) if largest as usize == num_classes => {
            "; labels are expected from 0, and these look counted from 1: give each 1 less"
        }
        _ => "",
    }
}

/// `1 to 5, 7` of labels that are there.
fn ranges(is_there: &[bool]) -> String {
    let mut found: Vec<[usize; 2]> = Vec::new();
    for label in (0..is_there.len()).filter(|&label| is_there[label]) {
        match found.last_mut() {
            Some([_, last]) if *last + 1 == label => *last = label,
            _ => found.push([label, label]),
        }
    }
    let text = |&[first, last]: &[usize; 2]| match last - first {
        0 => first.to_string(),
        _ => format!("{first} to {last}"),
    };
    let mut texts: Vec<String> = found.iter().take(SHOWN).map(text).collect();
    if found.len() > SHOWN {
        texts.push(format!("... {}", found.last().map_or(0, |[_, last]| *last)));
    }
    texts.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(num_classes: usize, labels: &[u32]) -> String {
        let classes: Vec<String> = (0..num_classes).map(|class| format!("c{class}")).collect();
        note("here", &classes, labels.iter().copied()).unwrap_or_default()
    }

    #[test]
    fn classes_without_images_are_counted_and_labels_shown() {
        assert_eq!(told(3, &[2, 0, 1, 0]), "");
        assert_eq!(told(4, &[3, 0, 1]), "here: 1 of 4 classes has no images (c2); labels are 0 to 1, 3");
        assert_eq!(
            told(30, &[1, 5, 6, 9, 11, 20]),
            "here: 24 of 30 classes have no images (c0, c2, c3, c4 and 20 more); labels are 1, 5 to 6, 9, 11, ... 20"
        );
        assert!(told(4, &[3, 1, 2]).contains("labels are 1 to 3, as if counted from 1, so that class 0 (c0) has no"));
        assert_eq!(told(2, &[1]), "here: 1 of 2 classes has no images (c0); labels are 1");
        assert!(told(1, &[]).contains("1 of 1 classes has no images"));
    }

    #[test]
    fn labels_from_1_to_the_number_of_classes_are_told_from_others() {
        let advice = |labels: &[u32]| advice_on_numbers(labels.iter().copied(), 3).contains("counted from 1");
        assert!(advice(&[3, 1, 2]) && advice(&[3, 2]));
        assert!(!advice(&[0, 3]) && !advice(&[1, 4]) && !advice(&[1, 2]) && !advice(&[]));
    }
}
