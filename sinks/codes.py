"""Error codes of ClickHouse by their meaning for a block. A code in none of these lists is unexpected."""

RETRYABLE = {
    75: "cannot_write_to_file",
    95: "cannot_read_from_socket",
    96: "cannot_write_to_socket",
    159: "timeout_exceeded",
    201: "quota_exceeded",
    202: "too_many_simultaneous_queries",
    203: "no_free_connection",
    209: "socket_timeout",
    210: "network_error",
    216: "query_with_same_id_is_already_running",
    225: "no_keeper",
    236: "aborted",
    241: "memory_limit_exceeded",
    242: "table_is_read_only",
    243: "not_enough_space",
    252: "too_many_parts",
    285: "too_few_live_replicas",
    286: "unsatisfied_quorum",
    319: "unknown_status_of_insert",
    394: "query_was_cancelled",
    700: "session_limit_exceeded",
    749: "connection_limit_reached",
    774: "table_is_read_only",
    777: "memory_limit_exceeded",
    778: "memory_limit_exceeded",
    999: "keeper_exception",
}
MISCONFIGURED = {
    16: "no_such_column_in_table",
    20: "number_of_columns_doesnt_match",
    46: "unknown_function",
    47: "unknown_identifier",
    50: "unknown_type",
    60: "unknown_table",
    62: "syntax_error",
    81: "unknown_database",
    115: "unknown_setting",
    164: "readonly",
    192: "unknown_user",
    193: "wrong_password",
    194: "required_password",
    452: "setting_constraint_violation",
    497: "access_denied",
    516: "authentication_failed",
}
SESSION_LIMIT_EXCEEDED = 700
SETTING_CONSTRAINT = 452
LOGIN_REJECTED = frozenset({192, 193, 194, 516})
BAD_VALUES = {
    6: "cannot_parse_text",
    27: "cannot_parse_input",
    53: "type_mismatch",
    70: "cannot_convert_type",
}
NAMES = RETRYABLE | MISCONFIGURED | BAD_VALUES
