// SPDX-License-Identifier: Apache-2.0
//! Templates of ApplicationSets: `{{name}}`, and of Go templates the ones that name a value (`{{ .a.b }}`,
//! `{{ index .path.segments 1 }}`).

use std::rc::Rc;

use super::parameters::Parameters;
use crate::collect::yaml::{Node, Value};

/// A value with its templates replaced.
///
/// # Errors
/// One of them is not known, or is none of those that are replaced here: why, as part of a sentence.
pub(super) fn render(node: &Rc<Node>, parameters: &Parameters, is_go: bool) -> Result<Rc<Node>, String> {
    let value = match &node.value {
        Value::Scalar(scalar, _) if !scalar.contains("{{") => return Ok(Rc::clone(node)),
        Value::Scalar(scalar, _) => Value::Scalar(text(scalar, parameters, is_go)?, false),
        Value::List(items) => {
            Value::List(items.iter().map(|item| render(item, parameters, is_go)).collect::<Result<_, _>>()?)
        }
        Value::Map(fields) => {
            let fields =
                fields.iter().map(|(key, value)| Ok((key.clone(), render(value, parameters, is_go)?)));
            Value::Map(fields.collect::<Result<_, String>>()?)
        }
    };
    Ok(Rc::new(Node { line: node.line, value }))
}

fn text(text: &str, parameters: &Parameters, is_go: bool) -> Result<String, String> {
    let mut result = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("{{") {
        let (expression, after) = after.split_once("}}").ok_or("has a template without its end `}}`")?;
        let shown = crate::redact::printable(expression.trim(), 100);
        let value = if is_go { go(expression, parameters) } else { parameters.by_name(expression.trim()) };
        let Some(value) = value else {
            return Err(format!("is made of a template whose `{{{{ {shown} }}}}` is not known here"));
        };
        // The path of simple templates: a mapping here, and a text there.
        let value = value.text().or_else(|| value.text_at(&["path"]).filter(|_| !is_go));
        let value =
            value.ok_or_else(|| format!("is made of a template whose `{{{{ {shown} }}}}` is no text"))?;
        result.push_str(before);
        result.push_str(value);
        rest = after;
    }
    result.push_str(rest);
    Ok(result)
}

/// The value that a Go template names.
fn go<'a>(expression: &str, parameters: &'a Parameters) -> Option<&'a Rc<Node>> {
    let expression = expression.trim_start_matches('-').trim_end_matches('-').trim();
    let words = expression.split_whitespace().collect::<Vec<_>>();
    let (name, indices) = match words.as_slice() {
        ["index", name, indices @ ..] => (*name, indices),
        [name] => (*name, &[][..]),
        _ => return None,
    };
    let mut path = name.strip_prefix('.')?.split('.').filter(|part| !part.is_empty()).collect::<Vec<_>>();
    path.extend(indices.iter().map(|index| index.trim_matches('"')));
    parameters.at(&path)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::indexing_slicing)]

    use super::super::parameters::{of_file, of_folder};
    use super::*;
    use crate::collect::yaml::documents;

    #[test]
    fn templates_are_replaced_where_their_values_are_known() {
        let list = documents("name: berlin\ncluster: {owner: a, tags: [x, y]}\na.b: dotted\npart-of: z\n");
        let known = Parameters::default().with(&list.0[0]);
        let folder = of_folder(&known, "apps/My_App", "");
        let file = of_file(&known, "c/prod/config.json", "p");
        for (parameters, is_go, written, expected) in [
            (&folder, false, "x/{{name}}-{{ cluster.owner }}", Some("x/berlin-a")),
            (&folder, false, "{{path}} {{path.path}} {{path[0]}}", Some("apps/My_App apps/My_App apps")),
            (&folder, false, "{{path.segments[1]}} {{path[1]}}", Some("My_App My_App")),
            (&folder, false, "{{path[2]}}", None),
            (
                &folder,
                false,
                "{{path.basename}} {{path.basenameNormalized}} {{a.b}}",
                Some("My_App my-app dotted"),
            ),
            (&folder, false, "{{other}}", None),
            (&folder, false, "{{name", None),
            (&folder, true, "{{.path.path}}/{{ index .path.segments 1 }}", Some("apps/My_App/My_App")),
            (&folder, true, "{{- index .cluster.tags 1 -}} {{.name}}", Some("y berlin")),
            (&folder, true, "{{ index . \"part-of\" }}", Some("z")),
            (&folder, true, "{{ .name | upper }}", None),
            (&folder, true, "{{ name }}", None),
            (&folder, true, "{{ .path }}", None),
            (&file, false, "{{p.path}} {{p.path[1]}}", Some("c/prod prod")),
            (&file, false, "{{p.path.path}} {{p.path.filename}}", Some("c/prod config.json")),
        ] {
            assert_eq!(text(written, parameters, is_go).ok().as_deref(), expected, "{written}");
        }
    }
}
