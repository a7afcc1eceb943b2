//! What a source is, and what it is doing.

/// What a source is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SourceKind {
    Mqtt,
    OpenVpn,
    Panel,
    Radius,
    Files,
}

impl SourceKind {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Mqtt => "mqtt",
            Self::OpenVpn => "openvpn",
            Self::Panel => "panel",
            Self::Radius => "radius",
            Self::Files => "files",
        }
    }

    /// What it is while it works.
    pub(crate) fn working(self) -> &'static str {
        match self {
            Self::Mqtt => "subscribed",
            Self::OpenVpn | Self::Panel | Self::Radius | Self::Files => "reading",
        }
    }
}

/// What a source is doing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Phase {
    /// On its way to working.
    #[default]
    Connecting,
    /// Subscribed at the broker; or the last look at what is read succeeded.
    Working,
    /// Until the next attempt.
    Waiting,
    Stopped,
}

impl Phase {
    pub(crate) fn as_str(self, kind: SourceKind) -> &'static str {
        match self {
            Self::Connecting => "connecting",
            Self::Working => kind.working(),
            Self::Waiting => "waiting",
            Self::Stopped => "stopped",
        }
    }
}
