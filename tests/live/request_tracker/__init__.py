"""What it takes to install, start and fill a Request Tracker."""
