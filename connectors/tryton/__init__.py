"""Tryton (ERP, CRM, inventory): quotes, orders, shipments, invoices, opportunities, and customers that were deleted."""
