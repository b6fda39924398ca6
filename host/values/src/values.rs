//! The declaration of a struct of settings.

/// A struct that [`values!`](crate::values!) has declared.
pub trait Values: Default {
    /// The fields, in the order of their declaration.
    const FIELDS: &'static [Field];

    /// The documentation of a field, a line of the source for each element.
    ///
    /// # Panics
    /// There is no such field.
    fn doc(field: &str) -> &'static [&'static str] {
        let found = Self::FIELDS.iter().find(|known| known.name == field);
        found.unwrap_or_else(|| panic!("there is no setting {field}")).doc
    }
}

/// One setting.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Field {
    /// The field's name in Rust.
    pub name: &'static str,
    /// Its documentation, a line of the source for each element.
    pub doc: &'static [&'static str],
}

/// Declares a struct of settings, with a documented default for each:
///
/// ```
/// use std::time::Duration;
///
/// use roadrunner_values::units::secs;
///
/// roadrunner_values::values! {
///     /// The deadlines of a call.
///     pub struct Deadlines {
///         /// From the call to the first byte of its answer.
///         pub answer: Duration = secs(5);
///     }
/// }
/// assert_eq!(Deadlines::default().answer, Duration::from_secs(5));
/// ```
#[macro_export]
macro_rules! values {
    (
        $(#[doc = $doc:literal])*
        pub struct $name:ident {
            $($(#[doc = $field_doc:literal])* pub $field:ident : $type:ty = $default:expr;)*
        }
    ) => {
        $(#[doc = $doc])*
        #[derive(Clone, Debug, PartialEq, Eq)]
        pub struct $name {
            $(
                $(#[doc = $field_doc])*
                ///
                /// # Defaults
                #[doc = concat!("`", stringify!($default), "`.")]
                pub $field: $type,
            )*
        }

        impl Default for $name {
            fn default() -> Self {
                Self { $($field: $default,)* }
            }
        }

        impl $crate::Values for $name {
            const FIELDS: &'static [$crate::Field] = &[
                $($crate::Field { name: stringify!($field), doc: &[$($field_doc),*] },)*
            ];
        }
    };
}
