//! `hardpan data`: the data sets that have a name.

use crate::args::Data;
use crate::data::NAMED;
use crate::output::Output;
use serde_json::json;

pub fn run(args: &Data, out: &Output) -> anyhow::Result<()> {
    match args {
        Data::List => {
            for d in NAMED {
                out.event(&json!({
                    "name": d.name, "about": d.about, "terms": d.terms, "place": d.place, "bytes": d.bytes,
                }));
                let mb = d.bytes as f64 / 1e6;
                out.line(format!("{:10}  {}", d.name, d.about));
                out.line(format!("{:10}  {}, {mb:.1} MB; {}", "", d.place, d.terms));
            }
            if NAMED.is_empty() {
                out.note(
                    "no data sets in this build (feature `mnist` is off); give a folder instead",
                );
            }
            Ok(())
        }
    }
}
