"""Installation, start and data of a Request Tracker."""
