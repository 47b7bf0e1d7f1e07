// Business partners and sales orders as an S/4HANA has them, small: what the connector reads and writes.
namespace shop;

entity Partners {
  key ID      : String(20);
      name    : String(1000)   @title: 'Name of the partner';
      tier    : String(1);
      credit  : Decimal(15, 2);
      planned : Decimal(13, 3) @assert.range: [ 0, 1000000 ];
      score   : Double;
      visits  : Integer64;
      open    : Boolean;
      since   : Date;
      met     : Timestamp;
      opens   : Time;
      guid    : UUID;
      changed : Timestamp      @cds.on.insert: $now @cds.on.update: $now @odata.etag;
      orders  : Association to many Orders on orders.partner = $self;
}

entity Orders {
  key ID      : String(10);
      partner : Association to Partners;
      amount  : Decimal(15, 2);
      items   : Composition of many Items on items.parent = $self;
}

entity Items {
  key parent   : Association to Orders;
  key position : Integer;
      material : String(40);
      quantity : Decimal(13, 3);
}

@path: 'shop'
service Shop {
  entity Partners as projection on shop.Partners;
  entity Orders   as projection on shop.Orders;
  entity Items    as projection on shop.Items;
}
