//! Progress that tells the truth: the table of epochs ([`EpochTable`]) with, on a terminal, a bar below it ([`Live`]).
//!
//! ```text
//! epoch     train_loss  valid_loss  accuracy  time
//! 0         0.214913    0.070265    0.977500  00:09
//! epoch 2/5 train ████████████▌             48.3% 453/938 00:04 < 00:05 loss 0.0812
//! ```
//!
//! A row is written once, when its epoch is over, so a file or a pipe gets plain lines and nothing else. The bar is drawn only
//! where there is a terminal, and erased before a row is written. Counterpart: fastai's `ProgressCallback` and fastprogress.

use std::io::{self, IsTerminal, Write};
use std::time::{Duration, Instant};

/// Formats the table: a header, then a row for each epoch, with columns that line up.
///
/// ```
/// use hardpan_learn::progress::EpochTable;
/// use std::time::Duration;
/// let table = EpochTable::new(["train_loss", "valid_loss"]);
/// println!("{}", table.header());
/// println!("{}", table.row(0, &[Some(0.5), None], Duration::from_secs(3)));
/// ```
#[derive(Clone, Debug)]
pub struct EpochTable {
    widths: Vec<usize>,
    names: Vec<String>,
}

impl EpochTable {
    /// A table with the columns `epoch`, these, and `time`.
    pub fn new<S: Into<String>>(columns: impl IntoIterator<Item = S>) -> EpochTable {
        let mut names = vec!["epoch".to_owned()];
        names.extend(columns.into_iter().map(Into::into));
        names.push("time".to_owned());
        // A number such as 0.123456 has eight characters; two blanks separate columns.
        let widths = names.iter().map(|n| n.chars().count().max(8) + 2).collect();
        EpochTable { widths, names }
    }

    /// The line of column names.
    pub fn header(&self) -> String {
        self.line(self.names.iter().map(String::as_str))
    }

    /// The line of an epoch: `values` are those of the columns between `epoch` and `time`; `None` leaves a blank.
    ///
    /// # Panics
    /// If there are more or fewer values than such columns.
    #[track_caller]
    pub fn row(&self, epoch: usize, values: &[Option<f64>], time: Duration) -> String {
        assert!(
            values.len() + 2 == self.names.len(),
            "EpochTable::row: {} values for the columns {:?}",
            values.len(),
            &self.names[1..self.names.len() - 1]
        );
        let mut cells = vec![epoch.to_string()];
        cells.extend(values.iter().map(|v| v.map(number).unwrap_or_default()));
        cells.push(clock(time));
        self.line(cells.iter().map(String::as_str))
    }

    fn line<'a>(&self, cells: impl Iterator<Item = &'a str>) -> String {
        let line: String =
            cells.zip(&self.widths).map(|(cell, &width)| format!("{cell:width$}")).collect();
        line.trim_end().to_owned()
    }
}

/// Six decimals, or four digits and an exponent for what six decimals cannot show.
fn number(v: f64) -> String {
    if v.is_finite() && v != 0.0 && (v.abs() < 1e-4 || v.abs() >= 1e6) {
        format!("{v:.2e}")
    } else {
        format!("{v:.6}")
    }
}

/// `mm:ss`, or `h:mm:ss` from an hour on.
///
/// ```
/// use hardpan_learn::progress::clock;
/// use std::time::Duration;
/// println!("{}", clock(Duration::from_secs(75))); // 01:15
/// ```
pub fn clock(d: Duration) -> String {
    // Rounded, so that 59.7 s does not read 00:59.
    let s = d.as_secs_f64().round() as u64;
    match s / 3600 {
        0 => format!("{:02}:{:02}", s / 60, s % 60),
        h => format!("{h}:{:02}:{:02}", s / 60 % 60, s % 60),
    }
}

/// A line that shows how far a piece of work is, in at most `columns` characters.
///
/// Elapsed and expected time are left and right of `<`; `note` is at the end and goes first when there is no room.
///
/// ```
/// use hardpan_learn::progress::bar;
/// use std::time::Duration;
/// let line = bar("train", 50, 200, Duration::from_secs(10), "loss 0.1", 80);
/// assert_eq!(line, "train ██████                    25.0% 50/200 00:10 < 00:30 loss 0.1");
/// assert_eq!(bar("train", 50, 200, Duration::from_secs(10), "loss 0.1", 20).chars().count(), 20);
/// ```
pub fn bar(
    label: &str,
    done: usize,
    total: usize,
    elapsed: Duration,
    note: &str,
    columns: usize,
) -> String {
    const EIGHTHS: [char; 8] = [' ', '▏', '▎', '▍', '▌', '▋', '▊', '▉'];
    const WIDTH: usize = 24;
    let done = done.min(total);
    let share = if total == 0 { 1.0 } else { done as f64 / total as f64 };
    let left = match done {
        0 => "--:--".to_owned(),
        _ => clock(elapsed.mul_f64((total - done) as f64 / done as f64)),
    };
    let eighths = (share * (WIDTH * 8) as f64) as usize;
    let mut strip = "█".repeat(eighths / 8);
    if eighths / 8 < WIDTH {
        strip.push(EIGHTHS[eighths % 8]);
    }
    let head = format!("{label} {strip:WIDTH$}{:6.1}%", share * 100.0);
    let parts = [format!(" {done}/{total}"), format!(" {} < {left}", clock(elapsed)), {
        if note.is_empty() { String::new() } else { format!(" {note}") }
    }];
    let mut line: String = head.chars().take(columns).collect();
    for part in parts {
        if line.chars().count() + part.chars().count() > columns {
            break;
        }
        line += &part;
    }
    line
}

/// Where and how progress is shown.
///
/// ```
/// use hardpan_learn::progress::Live;
/// use std::sync::{Arc, Mutex};
/// use std::time::Duration;
/// # #[derive(Clone, Default)]
/// # struct Shared(Arc<Mutex<Vec<u8>>>);
/// # impl std::io::Write for Shared {
/// #     fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
/// #         self.0.lock().unwrap().write(bytes)
/// #     }
/// #     fn flush(&mut self) -> std::io::Result<()> {
/// #         Ok(())
/// #     }
/// # }
/// // Rows to a writer of one's own, and no bar. On standard output: `Live::stdio(..)`.
/// let out = Shared::default();
/// let mut live = Live::new(["train_loss"], 1, Some(Box::new(out.clone())), None);
/// live.start(0, "train", 100);
/// live.update(50, || "loss 0.4".into()); // shown in the bar, where there is one
/// live.row(0, &[Some(0.25)], Duration::from_secs(3));
/// let text = String::from_utf8(out.0.lock().unwrap().clone())?;
/// assert_eq!(text.lines().count(), 2);
/// assert!(text.contains("train_loss") && text.contains("0.250000"), "{text}");
/// # Ok::<(), std::string::FromUtf8Error>(())
/// ```
pub struct Live {
    /// Gets the table; `None` where something else reports epochs.
    rows: Option<Box<dyn Write + Send>>,
    /// Gets the bar; `None` where there is no terminal.
    bars: Option<Box<dyn Write + Send>>,
    columns: fn() -> usize,
    table: EpochTable,
    epochs: usize,
    phase: Option<Phase>,
    drawn: bool,
    header_due: bool,
}

struct Phase {
    label: String,
    total: usize,
    start: Instant,
    next_draw: Instant,
}

/// Redrawing more often than this shows nobody more and costs time.
const REDRAW: Duration = Duration::from_millis(80);

impl Live {
    /// Rows on standard output; the bar on standard error if that is a terminal. `columns` as for [`EpochTable::new`].
    pub fn stdio<S: Into<String>>(columns: impl IntoIterator<Item = S>, epochs: usize) -> Live {
        Live::new(columns, epochs, Some(Box::new(io::stdout())), stderr_bar())
    }

    /// No rows, only the bar on standard error if that is a terminal: for programs that report epochs in their own way.
    pub fn bar_only(epochs: usize) -> Live {
        Live::new([] as [&str; 0], epochs, None, stderr_bar())
    }

    /// Nothing at all.
    pub fn silent() -> Live {
        Live::new([] as [&str; 0], 0, None, None)
    }

    /// Rows and bars to these writers, or not at all.
    pub fn new<S: Into<String>>(
        columns: impl IntoIterator<Item = S>,
        epochs: usize,
        rows: Option<Box<dyn Write + Send>>,
        bars: Option<Box<dyn Write + Send>>,
    ) -> Live {
        Live {
            rows,
            bars,
            columns: terminal_columns,
            table: EpochTable::new(columns),
            epochs,
            phase: None,
            drawn: false,
            header_due: true,
        }
    }

    /// A pass over `total` batches begins: `label` says which (`train`, `valid`).
    pub fn start(&mut self, epoch: usize, label: &str, total: usize) {
        self.write_header();
        let now = Instant::now();
        let label = format!("epoch {}/{} {label}", epoch + 1, self.epochs);
        self.phase = Some(Phase { label, total, start: now, next_draw: now });
        self.draw(0, "");
    }

    /// `done` batches of the pass are over. `note` is shown at the end of the bar, and only asked for when it is drawn.
    pub fn update(&mut self, done: usize, note: impl FnOnce() -> String) {
        let Some(p) = &mut self.phase else { return };
        let now = Instant::now();
        if self.bars.is_some() && (now >= p.next_draw || done == p.total) {
            p.next_draw = now + REDRAW;
            self.draw(done, &note());
        }
    }

    /// An epoch is over: writes its row. `values` as for [`EpochTable::row`], ignored where there are no rows.
    #[track_caller]
    pub fn row(&mut self, epoch: usize, values: &[Option<f64>], time: Duration) {
        self.erase();
        self.phase = None;
        self.write_header();
        if self.rows.is_some() {
            let line = self.table.row(epoch, values, time);
            self.write_row(&line);
        }
    }

    /// Erases the bar, so that something else can be printed; the next update draws it again.
    pub fn erase(&mut self) {
        if std::mem::take(&mut self.drawn) {
            self.write_bar("\r\x1b[2K");
        }
        if let Some(p) = &mut self.phase {
            p.next_draw = Instant::now();
        }
    }

    fn write_header(&mut self) {
        if std::mem::take(&mut self.header_due) && self.rows.is_some() {
            self.write_row(&self.table.header());
        }
    }

    fn draw(&mut self, done: usize, note: &str) {
        let Some(p) = &self.phase else { return };
        if self.bars.is_none() {
            return;
        }
        // One column less than there are: a full line would make some terminals wrap.
        let columns = (self.columns)().saturating_sub(1);
        let line = bar(&p.label, done, p.total, p.start.elapsed(), note, columns);
        self.write_bar(&format!("\r{line}\x1b[K"));
        self.drawn = true;
    }

    /// A reader that has gone away is no reason to stop a training.
    fn write_row(&mut self, line: &str) {
        if let Some(w) = &mut self.rows {
            let _ = writeln!(w, "{line}").and_then(|()| w.flush());
        }
    }

    fn write_bar(&mut self, text: &str) {
        if let Some(w) = &mut self.bars {
            let _ = w.write_all(text.as_bytes()).and_then(|()| w.flush());
        }
    }
}

impl Drop for Live {
    fn drop(&mut self) {
        self.erase();
    }
}

fn stderr_bar() -> Option<Box<dyn Write + Send>> {
    let dumb = std::env::var("TERM").is_ok_and(|t| t == "dumb");
    (io::stderr().is_terminal() && !dumb).then(|| Box::new(io::stderr()) as Box<dyn Write + Send>)
}

/// Width of the terminal, 80 where nobody knows.
fn terminal_columns() -> usize {
    terminal_size::terminal_size().map_or(80, |(w, _)| w.0 as usize)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::{Arc, Mutex};

    #[test]
    fn rows_line_up_with_the_header() {
        let t = EpochTable::new(["train_loss", "valid_loss", "accuracy"]);
        let seconds = |s| Duration::from_secs_f64(s);
        assert_eq!(t.header(), "epoch     train_loss  valid_loss  accuracy  time");
        assert_eq!(
            t.row(0, &[Some(0.21491302), Some(0.07), Some(0.9775)], seconds(9.6)),
            "0         0.214913    0.070000    0.977500  00:10"
        );
        assert_eq!(
            t.row(10, &[Some(f64::NAN), None, Some(0.00001)], seconds(3725.0)),
            "10        NaN                     1.00e-5   1:02:05"
        );
    }

    #[test]
    #[should_panic(expected = "2 values for the columns [\"train_loss\"]")]
    fn a_row_of_another_length_is_refused() {
        EpochTable::new(["train_loss"]).row(0, &[None, None], Duration::ZERO);
    }

    #[test]
    fn a_bar_shows_share_and_times() {
        let b = |done, total, columns| {
            bar("train", done, total, Duration::from_secs(10), "loss 1", columns)
        };
        assert_eq!(b(0, 8, 80), "train                            0.0% 0/8 00:10 < --:-- loss 1");
        assert_eq!(b(5, 8, 80), "train ███████████████           62.5% 5/8 00:10 < 00:06 loss 1");
        assert_eq!(b(8, 8, 80), "train ████████████████████████ 100.0% 8/8 00:10 < 00:00 loss 1");
        assert_eq!(b(9, 8, 80), b(8, 8, 80), "never more than all");
        assert!(b(0, 0, 80).contains("100.0%"), "nothing to do is done");
        for columns in 0..80 {
            assert!(b(5, 8, columns).chars().count() <= columns);
        }
        assert_eq!(b(5, 8, 50), "train ███████████████           62.5% 5/8");
    }

    #[derive(Clone, Default)]
    struct Shared(Arc<Mutex<Vec<u8>>>);

    impl Write for Shared {
        fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend(buf);
            Ok(buf.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    impl Shared {
        fn text(&self) -> String {
            String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
        }
    }

    fn run(rows: Option<Shared>, bars: Option<Shared>) {
        let boxed = |s: Option<Shared>| s.map(|s| Box::new(s) as Box<dyn Write + Send>);
        let mut live = Live::new(["loss"], 2, boxed(rows), boxed(bars));
        for epoch in 0..2 {
            live.start(epoch, "train", 10);
            (1..=10).for_each(|i| live.update(i, || format!("loss {i}")));
            live.row(epoch, &[Some(0.5)], Duration::from_secs(1));
        }
    }

    #[test]
    fn without_a_terminal_there_are_plain_lines_only() {
        let rows = Shared::default();
        run(Some(rows.clone()), None);
        assert_eq!(
            rows.text(),
            "epoch     loss      time\n0         0.500000  00:01\n1         0.500000  00:01\n"
        );
    }

    #[test]
    fn the_bar_is_erased_before_each_row() {
        // Both to one writer, as on a terminal.
        let screen = Shared::default();
        run(Some(screen.clone()), Some(screen.clone()));
        let text = screen.text();
        assert!(text.contains("\repoch 1/2 train"), "{text:?}");
        assert!(text.contains("100.0% 10/10"), "{text:?}");
        for row in ["0         0.5", "1         0.5"] {
            let before = &text[..text.find(row).unwrap()];
            assert!(before.ends_with("\r\x1b[2K"), "{before:?}");
        }
    }

    #[test]
    fn times_are_rounded() {
        assert_eq!(clock(Duration::from_millis(59_700)), "01:00");
        assert_eq!(clock(Duration::from_secs(3599)), "59:59");
        assert_eq!(clock(Duration::from_secs(36_000)), "10:00:00");
    }
}
