//! One plain page for people without scripts: which branch serves, and what is in its shop. It is the whole front end of
//! a program that was built without one. Every value from outside goes through [`Text`], which escapes it; there is no
//! script in it, and the browser is told to run none.

use crate::catalog::{Category, Product, Slice, fetch_categories, fetch_products};
use crate::credential::{Branch, Credential, Ownership};
use crate::db::Database;
use crate::error::Error;
use axum::extract::State;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{Html, IntoResponse, Response};
use futures_util::FutureExt;
use sqlx::PgConnection;
use std::fmt::{self, Display};

const STYLE: &str = include_str!("page.css");
const POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";
/// Fewer than this, and the card says so.
const FEW: i32 = 100;
/// After how many seconds a browser asks again while the shop is closed: there is no script that could.
const LOOK_AGAIN: &str = "3";

/// Answers with the page.
pub(crate) async fn page(State(database): State<Database>) -> Response {
    let (status, html) = match fetch_shop(&database).await {
        Ok((credential, categories, products)) => {
            let body = format!("{}{}", Hero(&categories), Shelf(&products));
            (StatusCode::OK, document(Some(&credential), &body))
        }
        Err(error) => {
            error.log();
            let body = Closed(&error.to_string()).to_string();
            (error.status(), document(database.credential().as_deref(), &body))
        }
    };
    let headers = [
        (header::CONTENT_SECURITY_POLICY, POLICY),
        (header::CACHE_CONTROL, "no-store"),
    ];
    let mut response = (status, headers, Html(html)).into_response();
    if status == StatusCode::SERVICE_UNAVAILABLE {
        response
            .headers_mut()
            .insert(header::REFRESH, HeaderValue::from_static(LOOK_AGAIN));
    }
    response
}

type Shop = (std::sync::Arc<Credential>, Vec<Category>, Vec<Product>);

async fn fetch_shop(database: &Database) -> Result<Shop, Error> {
    let ((categories, products), credential) = database
        .read(|connection| fetch_lists(connection).boxed())
        .await?;
    Ok((credential, categories, products))
}

async fn fetch_lists(connection: &mut PgConnection) -> sqlx::Result<(Vec<Category>, Vec<Product>)> {
    let categories = fetch_categories(connection, Slice::FIRST).await?;
    let products = fetch_products(connection, None, Slice::FIRST).await?;
    Ok((categories, products))
}

fn document(credential: Option<&Credential>, body: &str) -> String {
    let badge = Badge(credential);
    format!(
        "<!doctype html>
<html lang=\"en\">
<head>
<meta charset=\"utf-8\">
<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">
<title>Data &amp; Bricks</title>
<style>{STYLE}</style>
</head>
<body>
<header>
<a class=\"brand\" href=\"/plain\">{LOGO}<span><strong>Data &amp; Bricks</strong><small>fine data, finer bricks</small></span></a>
{badge}
</header>
<main>
{body}
</main>
<footer>Every worktree has its own shop. Break this one; the others will not notice.</footer>
</body>
</html>
"
    )
}

const LOGO: &str = "<svg viewBox=\"0 0 32 24\" width=\"40\" height=\"30\" aria-hidden=\"true\">\
<g fill=\"currentColor\"><rect width=\"15\" height=\"7\" rx=\"1\"/><rect x=\"17\" width=\"15\" height=\"7\" rx=\"1\"/>\
<rect y=\"9\" width=\"7\" height=\"7\" rx=\"1\"/><rect x=\"9\" y=\"9\" width=\"15\" height=\"7\" rx=\"1\"/>\
<rect x=\"26\" y=\"9\" width=\"6\" height=\"7\" rx=\"1\"/><rect y=\"18\" width=\"15\" height=\"6\" rx=\"1\"/>\
<rect x=\"17\" y=\"18\" width=\"15\" height=\"6\" rx=\"1\"/></g></svg>";

/// Text from outside, made harmless in HTML text and in quoted attributes.
struct Text<'a>(&'a str);

impl Display for Text<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut plain = self.0;
        while let Some(at) = plain.find(['&', '<', '>', '"', '\'']) {
            let (before, rest) = plain.split_at(at);
            f.write_str(before)?;
            f.write_str(match rest.as_bytes().first() {
                Some(b'&') => "&amp;",
                Some(b'<') => "&lt;",
                Some(b'>') => "&gt;",
                Some(b'"') => "&quot;",
                _ => "&#39;",
            })?;
            plain = rest.get(1..).unwrap_or_default();
        }
        f.write_str(plain)
    }
}

/// Says which branch serves.
struct Badge<'a>(Option<&'a Credential>);

impl Display for Badge<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(credential) = self.0 else {
            return f.write_str("<p class=\"badge\"><b>no database yet</b></p>");
        };
        let host = Text(credential.host());
        match &credential.branch {
            Some(branch) => write!(
                f,
                "<p class=\"badge\" title=\"{host}\"><b id=\"branch\">{}</b><span>{}</span></p>",
                Text(&branch.name),
                BranchFacts(branch),
            ),
            None => write!(
                f,
                "<p class=\"badge\"><b>{host}</b><span>no branch known</span></p>"
            ),
        }
    }
}

struct BranchFacts<'a>(&'a Branch);

impl Display for BranchFacts<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.0.ownership {
            Ownership::Owned => "owned",
            Ownership::Adopted => "adopted",
            Ownership::None => "branch",
        })?;
        if let Some(source) = &self.0.source {
            write!(f, " · from {}", Text(source))?;
        }
        match self.0.expires_at {
            Some(time) => write!(f, " · until {}", time.format("%Y-%m-%d %H:%M UTC")),
            None => f.write_str(" · does not expire"),
        }
    }
}

/// The greeting, with a tile for each category.
struct Hero<'a>(&'a [Category]);

impl Display for Hero<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(
            "<section class=\"hero\"><h1>Solid data. Structured bricks.</h1>\
             <p>The only shop where both the inventory and the schema can be load-bearing.</p></section>\
             <section class=\"tiles\">",
        )?;
        for category in self.0 {
            let (name, description) = (Text(&category.name), Text(&category.description));
            write!(f, "<article><h2>{name}</h2><p>{description}</p></article>")?;
        }
        f.write_str("</section>")
    }
}

/// All products.
struct Shelf<'a>(&'a [Product]);

impl Display for Shelf<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("<section class=\"shelf\" aria-label=\"Products\">")?;
        for product in self.0 {
            write!(
                f,
                "<article id=\"product-{}\"><span class=\"tag\">{}</span><h3>{}</h3><p>{}</p>\
                 <div><b class=\"price\">${}</b>{}</div></article>",
                product.id,
                Text(&product.category_name),
                Text(&product.name),
                Text(&product.description),
                Text(&product.price),
                Stock(product.quantity),
            )?;
        }
        f.write_str("</section>")
    }
}

struct Stock(i32);

impl Display for Stock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            ..=0 => f.write_str("<span class=\"stock none\">Out of stock</span>"),
            few @ 1..FEW => write!(f, "<span class=\"stock few\">Only {few} left!</span>"),
            many => write!(f, "<span class=\"stock\">{many} in stock</span>"),
        }
    }
}

/// What is shown when the database is away.
struct Closed<'a>(&'a str);

impl Display for Closed<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let why = Text(self.0);
        write!(
            f,
            "<section class=\"hero closed\"><h1>Closed for a moment</h1><p>{why}</p>\
             <p>This page looks again by itself. <a href=\"\">Try the door now</a></p></section>"
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_harmless_in_html() {
        let shown = Text("<script>\"a\" & 'b'</script> é").to_string();
        assert_eq!(
            shown,
            "&lt;script&gt;&quot;a&quot; &amp; &#39;b&#39;&lt;/script&gt; é"
        );
        assert_eq!(Text("").to_string(), "");
    }

    #[test]
    fn stock_is_told_in_three_ways() {
        for (quantity, said) in [
            (-1, "Out of stock"),
            (0, "Out of stock"),
            (1, "Only 1 left!"),
            (99, "Only 99 left!"),
            (100, "100 in stock"),
        ] {
            let shown = Stock(quantity).to_string();
            assert!(shown.contains(said), "{quantity}: {shown}");
        }
    }
}
