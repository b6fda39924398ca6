//! The declaration of a setting that is one of a few words.

/// An enum that [`choice!`](crate::choice!) has declared.
pub trait Choice: Copy + 'static {
    /// Every value, in the order of the declaration.
    const ALL: &'static [Self];

    /// The words as the reference lists them: `` `"off"` or `"on"` ``.
    const LISTED: &'static str;

    /// The word for a value.
    fn word(self) -> &'static str;
}

/// Declares an enum whose values are words:
///
/// ```
/// roadrunner_values::choice! {
///     /// The form of a line.
///     #[derive(Default)]
///     pub enum Form {
///         /// For people.
///         #[default]
///         Human = "human",
///         /// For programs.
///         Json = "json",
///     }
/// }
/// assert_eq!(Form::default().as_str(), "human");
/// ```
#[macro_export]
macro_rules! choice {
    (
        $(#[$meta:meta])*
        $vis:vis enum $name:ident { $($(#[$value_meta:meta])* $value:ident = $text:literal,)* }
    ) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        $vis enum $name { $($(#[$value_meta])* $value,)* }

        impl $name {
            /// The word for this value.
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$value => $text,)* }
            }
        }

        impl $crate::Choice for $name {
            const ALL: &'static [Self] = &[$(Self::$value),*];
            const LISTED: &'static str = $crate::choice!(@listed $($text)*);

            fn word(self) -> &'static str {
                self.as_str()
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(self.as_str())
            }
        }
    };
    (@listed $first:literal $($text:literal)*) => { concat!("`\"", $first, "\"`" $(, " or `\"", $text, "\"`")*) };
}
