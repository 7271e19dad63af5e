//! Definition files in Jsonnet, evaluated to JSON.
//!
//! The native functions are those of ecspresso: `std.native("env")(name, default)` and `std.native("must_env")(name)`. What a file imports lies
//! beside it, or where the path leads from there.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use hoist_ecs::{Problem, Severity, Span};
use rsjsonnet_lang::arena::Arena;
use rsjsonnet_lang::interner::InternedStr;
use rsjsonnet_lang::lexer::LexError;
use rsjsonnet_lang::parser::{ActualToken, ParseError};
use rsjsonnet_lang::program::{
    AnalyzeError, Callbacks, EvalError, EvalErrorKind, EvalStackTraceItem, ImportError, LoadError,
    NativeError, Program, Thunk, Value,
};
use rsjsonnet_lang::span::{SourceId, SpanContext, SpanId};

use crate::template::Variables;

/// Whether a file is one, by its name.
pub(crate) fn is_jsonnet(path: &str) -> bool {
    path.ends_with(".jsonnet")
}

/// What the text of a file comes to. `shown` is its name in messages, `file` its place.
pub(crate) fn evaluate(
    shown: &str,
    file: &Path,
    text: &str,
    variables: &Variables,
) -> Result<String, Box<Problem>> {
    let arena = Arena::new();
    let mut program = Program::new(&arena);
    for (name, parameters) in NATIVE {
        let name = program.intern_str(name);
        let parameters: Vec<_> = parameters.iter().map(|it| program.intern_str(it)).collect();
        program.register_native_func(name, &parameters);
    }
    let mut files = Files {
        variables,
        sources: HashMap::new(),
        loaded: HashMap::new(),
        why: None,
        problem: None,
    };
    let source = Source {
        shown: shown.to_owned(),
        file: file.to_owned(),
        text: text.to_owned(),
    };
    let Some(thunk) = files.load(&mut program, source) else {
        return Err(files.take_problem(shown, text));
    };
    let evaluated = program
        .eval_value(&thunk, &mut files)
        .and_then(|value| program.manifest_json(&value, true));
    evaluated.map_err(|error| match files.problem.take() {
        Some(problem) => problem,
        None => files.failed(&program, &error, shown, text),
    })
}

const NATIVE: [(&str, &[&str]); 2] = [("env", &["name", "default"]), ("must_env", &["name"])];

/// A file that was read.
struct Source {
    shown: String,
    file: PathBuf,
    text: String,
}

/// The files of an evaluation, and what it may know of the world.
struct Files<'v, 'p> {
    variables: &'v Variables,
    sources: HashMap<SourceId, Source>,
    loaded: HashMap<PathBuf, Thunk<'p>>,
    /// Why a native function or an import failed.
    why: Option<String>,
    /// What is wrong with a file that was to be imported.
    problem: Option<Box<Problem>>,
}

impl<'p> Files<'_, 'p> {
    /// `None` leaves a problem behind.
    fn load(&mut self, program: &mut Program<'p>, source: Source) -> Option<Thunk<'p>> {
        let length = source.text.len();
        let (context, id) = program.span_manager_mut().insert_source_context(length);
        let loaded = program.load_source(context, source.text.as_bytes(), true, &source.shown);
        self.sources.insert(id, source);
        match loaded {
            Ok(thunk) => Some(thunk),
            Err(error) => {
                let (span, message) = unreadable(&error);
                self.problem = self.problem(program, span, &message);
                None
            }
        }
    }

    /// The file that an import means: the path leads from the folder of the file that imports it.
    fn named(&mut self, program: &Program<'p>, from: SpanId, path: &str) -> Option<PathBuf> {
        let (context, _, _) = program.span_manager().get_span(from);
        let SpanContext::Source(id) = program.span_manager().get_context(context);
        let source = self.sources.get(id)?;
        Some(source.file.parent()?.join(path))
    }

    fn bytes(
        &mut self,
        program: &Program<'p>,
        from: SpanId,
        path: &str,
    ) -> Result<(PathBuf, Vec<u8>), ImportError> {
        let file = self.named(program, from, path).ok_or(ImportError)?;
        match std::fs::read(&file) {
            Ok(bytes) => Ok((file, bytes)),
            Err(error) => {
                self.why = Some(error.to_string());
                Err(ImportError)
            }
        }
    }

    fn text(
        &mut self,
        program: &Program<'p>,
        from: SpanId,
        path: &str,
    ) -> Result<(PathBuf, String), ImportError> {
        let (file, bytes) = self.bytes(program, from, path)?;
        let text = String::from_utf8(bytes).map_err(|_| {
            self.why = Some("it is not UTF-8".to_owned());
            ImportError
        })?;
        Ok((file, text))
    }

    /// A problem at a place of one of the files; `None` for the standard library.
    fn problem(&self, program: &Program<'p>, span: SpanId, message: &str) -> Option<Box<Problem>> {
        let (context, start, end) = program.span_manager().get_span(span);
        let SpanContext::Source(id) = program.span_manager().get_context(context);
        let source = self.sources.get(id)?;
        Some(Box::new(Problem::new(
            Severity::Error,
            &source.shown,
            &source.text,
            place(&source.text, start, end),
            message,
        )))
    }

    fn take_problem(&mut self, shown: &str, text: &str) -> Box<Problem> {
        let unknown = || whole(shown, text, "the file cannot be read");
        self.problem.take().unwrap_or_else(unknown)
    }

    fn failed(
        &mut self,
        program: &Program<'p>,
        error: &EvalError,
        shown: &str,
        text: &str,
    ) -> Box<Problem> {
        let why = self.why.take().unwrap_or_default();
        let (own, message, help) = explained(&error.kind, &why);
        // The innermost place that is not in the standard library.
        let places = error
            .stack_trace
            .iter()
            .rev()
            .filter_map(|item| match item {
                EvalStackTraceItem::Expr { span }
                | EvalStackTraceItem::Variable { span, .. }
                | EvalStackTraceItem::Import { span } => Some(*span),
                EvalStackTraceItem::Call { span, .. }
                | EvalStackTraceItem::ArrayItem { span, .. }
                | EvalStackTraceItem::ObjectField { span, .. } => *span,
                EvalStackTraceItem::CompareArrayItem { .. }
                | EvalStackTraceItem::CompareObjectField { .. }
                | EvalStackTraceItem::ManifestArrayItem { .. }
                | EvalStackTraceItem::ManifestObjectField { .. } => None,
            });
        let mut problem = own
            .into_iter()
            .chain(places)
            .find_map(|span| self.problem(program, span, &message))
            .unwrap_or_else(|| whole(shown, text, &message));
        if !help.is_empty() {
            *problem = problem.help(help);
        }
        problem
    }
}

impl<'p> Callbacks<'p> for Files<'_, 'p> {
    fn import(
        &mut self,
        program: &mut Program<'p>,
        from: SpanId,
        path: &str,
    ) -> Result<Thunk<'p>, ImportError> {
        let (file, text) = self.text(program, from, path)?;
        if let Some(loaded) = self.loaded.get(&file) {
            return Ok(loaded.clone());
        }
        let source = Source {
            shown: path.to_owned(),
            file: file.clone(),
            text,
        };
        let thunk = self.load(program, source).ok_or(ImportError)?;
        self.loaded.insert(file, thunk.clone());
        Ok(thunk)
    }

    fn import_str(
        &mut self,
        program: &mut Program<'p>,
        from: SpanId,
        path: &str,
    ) -> Result<String, ImportError> {
        Ok(self.text(program, from, path)?.1)
    }

    fn import_bin(
        &mut self,
        program: &mut Program<'p>,
        from: SpanId,
        path: &str,
    ) -> Result<Vec<u8>, ImportError> {
        Ok(self.bytes(program, from, path)?.1)
    }

    fn trace(&mut self, _: &mut Program<'p>, _: &str, _: &[EvalStackTraceItem]) {}

    fn native_call(
        &mut self,
        _: &mut Program<'p>,
        function: InternedStr<'p>,
        arguments: &[Value<'p>],
    ) -> Result<Value<'p>, NativeError> {
        let named = arguments.first().and_then(Value::to_string);
        let Some(name) = named else {
            self.why = Some("the name of an environment variable is a text".to_owned());
            return Err(NativeError);
        };
        let value = self.variables.get(&name);
        match (function.value(), arguments) {
            ("env", [_, default]) => Ok(value
                .filter(|value| !value.is_empty())
                .map_or_else(|| default.clone(), |value| Value::string(value))),
            _ => value.map(|value| Value::string(value)).ok_or_else(|| {
                self.why = Some(format!("the environment variable `{name}` is not set"));
                NativeError
            }),
        }
    }
}

/// What is wrong with an evaluation: where, if the error says it, in words, and what would be right.
fn explained(kind: &EvalErrorKind, why: &str) -> (Option<SpanId>, String, &'static str) {
    match kind {
        EvalErrorKind::NativeCallFailed => (
            None,
            why.to_owned(),
            "set it, or use `env`, which has a default",
        ),
        EvalErrorKind::ImportFailed { span, path } => (
            Some(*span),
            format!("failed to import `{path}`: {why}"),
            "paths are relative to the file that imports",
        ),
        EvalErrorKind::UnknownExtVar { name } => (
            None,
            format!("there is no external variable `{name}`"),
            "hoist gives none: read the environment with `std.native(\"env\")(\"NAME\", \"default\")`",
        ),
        EvalErrorKind::CalleeIsNotFunction {
            span,
            got_type: rsjsonnet_lang::program::EvalErrorValueType::Null,
        } => (
            *span,
            "null is no function".to_owned(),
            "hoist knows the native functions `env` and `must_env`: put what others look up into the environment",
        ),
        EvalErrorKind::UnknownObjectField { span, field_name } => (
            Some(*span),
            format!("the object has no field `{field_name}`"),
            "",
        ),
        EvalErrorKind::ExplicitError { span, message } => (Some(*span), message.clone(), ""),
        EvalErrorKind::AssertFailed { span, message } => (
            Some(*span),
            message
                .clone()
                .unwrap_or_else(|| "the assertion does not hold".to_owned()),
            "",
        ),
        EvalErrorKind::Other { span, message } => (*span, message.clone(), ""),
        EvalErrorKind::ManifestFunction => (
            None,
            "a function cannot be written as JSON".to_owned(),
            "call it, or hide its field with `::`",
        ),
        EvalErrorKind::InvalidIndexedType { span, .. }
        | EvalErrorKind::InvalidSlicedType { span, .. }
        | EvalErrorKind::SliceIndexOrStepIsNotNumber { span, .. }
        | EvalErrorKind::StringIndexIsNotNumber { span, .. }
        | EvalErrorKind::ArrayIndexIsNotNumber { span, .. }
        | EvalErrorKind::NumericIndexIsNotValid { span, .. }
        | EvalErrorKind::NumericIndexOutOfRange { span, .. }
        | EvalErrorKind::ObjectIndexIsNotString { span, .. }
        | EvalErrorKind::RepeatedFieldName { span, .. }
        | EvalErrorKind::FieldNameIsNotString { span, .. }
        | EvalErrorKind::FieldOfNonObject { span, .. }
        | EvalErrorKind::SuperWithoutSuperObject { span, .. }
        | EvalErrorKind::ForSpecValueIsNotArray { span, .. }
        | EvalErrorKind::CondIsNotBool { span, .. }
        | EvalErrorKind::InvalidUnaryOpType { span, .. } => (Some(*span), words(kind), ""),
        EvalErrorKind::CalleeIsNotFunction { span, .. }
        | EvalErrorKind::TooManyCallArgs { span, .. }
        | EvalErrorKind::UnknownCallParam { span, .. }
        | EvalErrorKind::RepeatedCallParam { span, .. }
        | EvalErrorKind::CallParamNotBound { span, .. }
        | EvalErrorKind::InvalidBinaryOpTypes { span, .. }
        | EvalErrorKind::NumberNotBitwiseSafe { span, .. }
        | EvalErrorKind::NumberOverflow { span, .. }
        | EvalErrorKind::NumberNan { span, .. }
        | EvalErrorKind::DivByZero { span, .. }
        | EvalErrorKind::ShiftByNegative { span, .. } => (*span, words(kind), ""),
        other => (None, words(other), ""),
    }
}

fn unreadable(error: &LoadError) -> (SpanId, String) {
    match error {
        LoadError::Lex(
            error @ (LexError::InvalidChar { span, .. }
            | LexError::InvalidUtf8 { span, .. }
            | LexError::UnfinishedMultilineComment { span }
            | LexError::LeadingZeroInNumber { span }
            | LexError::MissingFracDigits { span }
            | LexError::MissingExpDigits { span }
            | LexError::MissingDigitAfterUnderscore { span }
            | LexError::ExpOverflow { span }
            | LexError::InvalidEscapeInString { span, .. }
            | LexError::IncompleteUnicodeEscape { span }
            | LexError::InvalidUtf16EscapeSequence { span, .. }
            | LexError::UnfinishedString { span }
            | LexError::MissingLineBreakAfterTextBlockStart { span }
            | LexError::MissingWhitespaceTextBlockStart { span }
            | LexError::InvalidTextBlockTermination { span }),
        ) => (*span, words(error)),
        LoadError::Parse(ParseError::Expected { span, instead, .. }) => {
            let found = match instead {
                ActualToken::EndOfFile => "the file ends too early".to_owned(),
                ActualToken::Ident(name) => format!("`{name}` is not expected here"),
                _ => "this is not expected here".to_owned(),
            };
            (*span, found)
        }
        LoadError::Analyze(AnalyzeError::UnknownVariable { span, name }) => {
            (*span, format!("there is no variable `{name}`"))
        }
        LoadError::Analyze(
            error @ (AnalyzeError::SelfOutsideObject { self_span: span }
            | AnalyzeError::SuperOutsideObject { super_span: span }
            | AnalyzeError::DollarOutsideObject { dollar_span: span }
            | AnalyzeError::RepeatedLocalName {
                repeated_span: span,
                ..
            }
            | AnalyzeError::RepeatedFieldName {
                repeated_span: span,
                ..
            }
            | AnalyzeError::RepeatedParamName {
                repeated_span: span,
                ..
            }
            | AnalyzeError::PositionalArgAfterNamed { arg_span: span }
            | AnalyzeError::TextBlockAsImportPath { span }
            | AnalyzeError::ComputedImportPath { span }),
        ) => (*span, words(error)),
    }
}

/// The name of an error in words: `NumberOverflow { .. }` is "number overflow".
fn words(error: &impl std::fmt::Debug) -> String {
    let name = format!("{error:?}");
    let name = name.split([' ', '{', '(']).next().unwrap_or_default();
    let mut words = String::new();
    for letter in name.chars() {
        if letter.is_ascii_uppercase() && !words.is_empty() {
            words.push(' ');
        }
        words.push(letter.to_ascii_lowercase());
    }
    words
}

fn place(text: &str, start: usize, end: usize) -> Span {
    let before = text.get(..start).unwrap_or(text);
    let line_start = before.rfind('\n').map_or(0, |at| at + 1);
    Span {
        line: before.matches('\n').count() + 1,
        column: before[line_start..].chars().count() + 1,
        start,
        end,
    }
}

fn whole(shown: &str, text: &str, message: &str) -> Box<Problem> {
    let span = place(text, 0, text.len().min(1));
    Box::new(Problem::new(Severity::Error, shown, text, span, message))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(files: &[(&str, &str)]) -> Result<serde_json::Value, Box<Problem>> {
        let folder = tempfile::tempdir().unwrap();
        for (name, text) in files {
            let file = folder.path().join(name);
            std::fs::create_dir_all(file.parent().unwrap()).unwrap();
            std::fs::write(file, text).unwrap();
        }
        let variables = [("TAG", "v1"), ("EMPTY", "")].map(|(a, b)| (a.to_owned(), b.to_owned()));
        let (name, text) = files[0];
        evaluate(name, &folder.path().join(name), text, &variables.into())
            .map(|json| serde_json::from_str(&json).unwrap())
    }

    #[test]
    fn functions_imports_and_the_environment_make_json() {
        let value = run(&[
            (
                "task.jsonnet",
                "local env = std.native('env');\nlocal lib = import 'lib/app.libsonnet';\nlib.task('app') + {\n  image: 'repo:' + std.native('must_env')('TAG'),\n  \
                 cpu: std.parseInt(env('CPU', '256')), none: env('EMPTY', null), note: importstr 'lib/note.txt',\n}\n",
            ),
            (
                "lib/app.libsonnet",
                "local base = import 'base.libsonnet'; { task(name):: base { family: name } }",
            ),
            ("lib/base.libsonnet", "{ requiresCompatibilities: ['FARGATE'], hidden:: 1 }"),
            ("lib/note.txt", "read me"),
        ])
        .unwrap();
        assert_eq!(
            value,
            serde_json::json!({
                "requiresCompatibilities": ["FARGATE"], "family": "app", "image": "repo:v1", "cpu": 256, "none": null, "note": "read me",
            })
        );
    }

    #[test]
    fn what_is_wrong_is_said_where_it_stands() {
        for (text, place, said) in [
            ("{\n  a: 1,\n  b: }", "3:6", "not expected"),
            ("{ a: x }", "1:6", "no variable `x`"),
            ("{ a: 'x", "1:6", "unfinished string"),
            (
                "{\n  a: std.native('must_env')('GONE') }",
                "2:6",
                "`GONE` is not set",
            ),
            ("{ a: std.native('env')(1, 2) }", "1:6", "is a text"),
            (
                "{ a: std.native('tfstate')('x') }",
                "1:6",
                "null is no function",
            ),
            ("{ a: { b: 1 }.c }", "1:6", "no field `c`"),
            ("{ a: error 'no way' }", "1:6", "no way"),
            (
                "{ a: import 'gone.libsonnet' }",
                "1:6",
                "failed to import `gone.libsonnet`",
            ),
            ("{ a: std.extVar('x') }", "1:6", "no external variable `x`"),
            ("{ a: 1 + {} , b: 1 / 0 }", "1:6", "invalid binary op types"),
            ("local f(x) = f(x); f(1)", "1:", "stack overflow"),
            ("function(x) x", "1:1", "cannot be written as JSON"),
            ("assert 1 == 2 : 'sums'; {}", "1:", "sums"),
        ] {
            let problem = run(&[("x.jsonnet", text)]).unwrap_err();
            let found = format!("{}:{}", problem.line, problem.column);
            assert!(
                found.starts_with(place),
                "{text}: {found}: {}",
                problem.message
            );
            assert!(
                problem.message.contains(said),
                "{text}: {}",
                problem.message
            );
            assert_eq!(problem.file, "x.jsonnet");
        }
        let problem = run(&[
            ("x.jsonnet", "import 'y.libsonnet'"),
            ("y.libsonnet", "{\n  a: 1 1\n}"),
        ])
        .unwrap_err();
        assert_eq!((problem.file.as_str(), problem.line), ("y.libsonnet", 2));
    }
}
