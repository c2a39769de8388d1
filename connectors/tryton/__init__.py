"""Tryton (ERP, CRM, inventory): quotes, orders, shipments, returns, goods, invoices, opportunities, and customers that were deleted."""
