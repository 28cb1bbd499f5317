//! [`Tally`]: which answers were had, so that what is compared is not always the same.

use super::call::Call;
use std::collections::BTreeMap;

/// How often which call had which answer.
#[derive(Default)]
pub(crate) struct Tally(BTreeMap<(&'static str, String), u64>);

impl Tally {
    pub(crate) fn count(&mut self, call: &Call, answer: &str) {
        // A kind of error, or the number of one.
        let kind = match answer.split_once("code: ") {
            Some((kind, code)) if kind.starts_with("Err") => code.split(',').next().unwrap_or_default(),
            _ => answer.split([' ', '/', ';', '(', '"']).find(|word| !word.is_empty()).unwrap_or_default(),
        };
        let kind = match call {
            Call::List(_) if !kind.starts_with(|first: char| first.is_ascii_uppercase()) => "Ok",
            Call::List(_) if kind == "A" => "Ok",
            Call::Lookup(_) if answer.starts_with('"') => "Ok",
            _ => kind,
        };
        *self.0.entry((call.name(), kind.to_owned())).or_default() += 1;
    }

    pub(crate) fn add(&mut self, other: Self) {
        other.0.into_iter().for_each(|(what, many)| *self.0.entry(what).or_default() += many);
    }

    /// How often it had one of these answers.
    pub(crate) fn of(&self, call: &str, answers: &[&str]) -> u64 {
        self.0
            .iter()
            .filter(|((of, answer), _)| *of == call && answers.contains(&answer.as_str()))
            .map(|(_, many)| many)
            .sum()
    }

    pub(crate) fn print(&self) {
        let mut before = "";
        for ((call, answer), many) in &self.0 {
            let start = if *call == before { String::new() } else { format!("\n{call}:") };
            print!("{start} {answer} {many}");
            before = call;
        }
        println!();
    }
}
