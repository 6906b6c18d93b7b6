//! One self-contained HTML page: text, tables and pictures, nothing loaded from elsewhere.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use std::fmt::Write;

/// The parts of a page, in order.
pub struct Page {
    title: String,
    about: String,
    body: String,
    contents: String,
    sections: usize,
}

impl Page {
    /// A page with nothing on it yet.
    pub fn new(title: &str, about: &str) -> Page {
        Page {
            title: title.to_owned(),
            about: about.to_owned(),
            body: String::new(),
            contents: String::new(),
            sections: 0,
        }
    }

    /// A section: a heading, a sentence on how to read it, and HTML.
    pub fn section(&mut self, heading: &str, about: &str, html: &str) {
        self.sections += 1;
        let (id, heading) = (self.sections, escape(heading));
        let _ = write!(self.contents, "<a href=\"#s{id}\">{heading}</a> ");
        let _ = writeln!(
            self.body,
            "<section id=\"s{id}\"><h2>{heading}</h2><p class=\"soft\">{}</p>{html}</section>",
            escape(about)
        );
    }

    /// The whole page.
    pub fn finish(self) -> String {
        let (title, about) = (escape(&self.title), escape(&self.about));
        format!(
            "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\
             <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\
             <title>{title}</title><style>{}</style></head>\n<body><main><header><h1>{title}</h1>\
             <p class=\"soft\">{about}</p><nav>{}</nav></header>\n{}</main><script>{}</script></body></html>\n",
            include_str!("page.css"),
            self.contents,
            self.body,
            include_str!("page.js"),
        )
    }
}

/// Text as HTML shows it.
pub fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out += "&amp;",
            '<' => out += "&lt;",
            '>' => out += "&gt;",
            '"' => out += "&quot;",
            '\'' => out += "&#39;",
            c => out.push(c),
        }
    }
    out
}

/// Rows of a table; the first has the headings. Cells that are numbers stand to the right.
pub fn table<R: AsRef<[String]>>(rows: &[R]) -> String {
    let mut out = String::from("<div class=\"scroll\"><table>");
    for (i, row) in rows.iter().enumerate() {
        out += "<tr>";
        for cell in row.as_ref() {
            let number = cell.trim_end_matches(" %").parse::<f64>().is_ok();
            let (tag, class) =
                (if i == 0 { "th" } else { "td" }, if number { " class=n" } else { "" });
            let _ = write!(out, "<{tag}{class}>{}</{tag}>", escape(cell));
        }
        out += "</tr>";
    }
    out + "</table></div>"
}

/// A PNG file inside the page.
pub fn picture(png: &[u8], alt: &str) -> String {
    format!("<img src=\"data:image/png;base64,{}\" alt=\"{}\">", STANDARD.encode(png), escape(alt))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_cannot_break_out() {
        let mut page = Page::new("<b>", "a & b");
        page.section("\"x\"", "<script>", &table(&[["n".to_owned()], ["<i>".to_owned()]]));
        let html = page.finish();
        assert!(html.contains("<h1>&lt;b&gt;</h1>") && html.contains("a &amp; b"));
        assert!(html.contains("&lt;script&gt;") && html.contains("<td>&lt;i&gt;</td>"));
        assert!(html.contains("<a href=\"#s1\">&quot;x&quot;</a>"));
    }
}
